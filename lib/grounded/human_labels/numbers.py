"""All the numbers of figure 5, in one place: from the completions, or from the committed figure."""

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from grounded import paths
from grounded.human_labels import agreement, completions
from grounded.human_labels.agreement import ALL
from grounded.human_labels.completions import JUDGES, XSTEST_MODELS
from grounded.sources import SourceAbsent

FIGURE = "figure_5_human_labels"
GUARD = "llama_guard"


@dataclass(frozen=True)
class Numbers:
    """Counts and what follows from them, no text.

    table: the rows of `agreement.everything`. statistics: people among themselves, judges with
    one person, ranks of attacks, Llama Guard's misses by attack, and how the set was made.
    measured: computed now from the completions; else read from the committed figure.
    origin: one line that says which.
    """

    table: pd.DataFrame
    statistics: dict[str, Any]
    measured: bool
    origin: str

    def judges(self) -> pd.DataFrame:
        """One row a judge, over all of HarmBench's completions, best kappa first.

        The AdvBench verdicts that are stored with the data are left out: the list is run here.
        """
        rows = self.table[(self.table["completions"] == "HarmBench") & (self.table["part"] == ALL)]
        rows = rows[rows["judge"] != "advbench"]
        return rows.sort_values("kappa", ascending=False, kind="stable").reset_index(drop=True)

    def summary(self) -> pd.DataFrame:
        """`judges` with what is computed beside the counts.

        kappa_with_one_person: mean over the persons. shown: sensitivity + specificity - 1, the
        part of a change that such a judge shows. rank_of_attacks: Spearman's correlation, over
        attacks, of the rates by judge and by people.
        """
        rows = self.judges()
        return rows.assign(
            kappa_with_one_person=rows["judge"].map(self.statistics["kappa_with_one_person"]),
            shown=rows["sensitivity"] + rows["specificity"] - 1,
            rank_of_attacks=rows["judge"].map(self.statistics["rank_of_attacks"]),
        )

    def attacks(self, judge: str) -> pd.DataFrame:
        """One row an attack of HarmBench's completions, for one judge."""
        rows = self.table[(self.table["completions"] == "HarmBench") & (self.table["part"] != ALL)]
        return rows[rows["judge"] == judge]

    def xstest(self, reference: str = "compliance") -> pd.DataFrame:
        """One row a model and keyword list of XSTest's completions."""
        rows = self.table[self.table["completions"] == "XSTest"]
        return rows[rows["reference"] == reference]


def numbers(study: str) -> Numbers:
    """The numbers of figure 5, measured if the completions can be had, else as committed.

    They do not depend on the study, which only names the folder of figures. SourceAbsent when
    there is neither data nor a committed figure; SourceError for data that changed.
    """
    try:
        return _measured()
    except SourceAbsent as absent:
        for folder in (paths.figures(study), paths.repository() / "figures" / "micro"):
            files = [folder / f"{FIGURE}{kind}" for kind in (".csv", ".json")]
            if all(file.exists() for file in files):
                table = pd.read_csv(files[0])
                found = json.loads(files[1].read_text(encoding="utf-8"))
                origin = f"note: the committed figure 5 stays, its data is absent: {absent}"
                return Numbers(table, found["statistics"], False, origin)
        raise


def _measured() -> Numbers:
    harmbench, xstest = completions.harmbench(), completions.xstest()
    table = agreement.everything(harmbench, xstest)
    misses, joint = agreement.misses(harmbench, GUARD)
    persons = list(completions.PEOPLE)
    statistics: dict[str, Any] = {
        "people": {"HarmBench": agreement.people(harmbench[persons], harmbench["behavior"])},
        "kappa_with_one_person": agreement.with_one_person(harmbench, list(JUDGES)),
        "rank_of_attacks": agreement.ranks(table),
        "one_of_two": {c: agreement.one_of_two(harmbench, c) for c in ("truth", *JUDGES)},
        "stored_advbench_differs": int(
            (harmbench["advbench"] != harmbench["keywords_advbench"]).sum()
        ),
        "partial_refusals": xstest["final"].eq("partial").groupby(xstest["model"]).sum().to_dict(),
        "misses_by_attack": {"terms": misses.to_dict("records"), "joint": joint},
    }
    for model in XSTEST_MODELS:
        own = xstest[xstest["model"] == model]
        found = agreement.people(own[persons[:2]], own["prompt"])
        statistics["people"][f"XSTest {model}"] = found
    origin = (
        f"measured from {len(harmbench)} completions of HarmBench and {len(xstest)} of XSTest, "
        "each file verified by its sha256"
    )
    return Numbers(table, statistics, True, origin)
