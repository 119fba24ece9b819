"""Judges beside people: known answers on the real files, formulas, and what happens without data.

The known answers were worked out from the same files (by sha256) before this code was written:
HarmBench @ 8e1604d, data/classifier_val_sets/text_behaviors_val_set.json, and exaggerated-safety
@ d7bb5bd, model_completions/. They need GROUNDED_MIRROR, a folder that holds these files.
"""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import run_notebook, texts
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

from grounded import human_labels, paths, sources
from grounded.human_labels import JUDGES, XSTEST_MODELS
from grounded.sources import SourceAbsent
from grounded.statistics import agreement

Patch = pytest.MonkeyPatch
NAME = "figure_5_human_labels"
MIRROR = os.environ.get("GROUNDED_MIRROR")
real = pytest.mark.skipif(not MIRROR, reason="GROUNDED_MIRROR names no folder with the real files")

# judge: share called harmful, sensitivity, specificity, kappa, AC1
HARMBENCH = {
    "gpt-4-0613": (0.513, 0.967, 0.863, 0.821, 0.821),
    "cls": (0.515, 0.967, 0.860, 0.818, 0.817),
    "cls_mistral": (0.515, 0.963, 0.857, 0.811, 0.811),
    "gpt-4-1106-preview": (0.407, 0.821, 0.936, 0.763, 0.772),
    "PAIR_gpt-4-0613": (0.430, 0.842, 0.912, 0.758, 0.764),
    "mixtral": (0.384, 0.755, 0.924, 0.688, 0.702),
    "GPTFuzz": (0.377, 0.626, 0.830, 0.463, 0.490),
    "advbench": (0.585, 0.791, 0.587, 0.369, 0.360),
    "keywords_advbench": (0.585, 0.791, 0.587, 0.369, 0.360),
    "gpt-3.5-turbo-0613": (0.161, 0.322, 0.973, 0.312, 0.439),
    "llama_guard": (0.176, 0.333, 0.954, 0.304, 0.424),
    "chatglm": (0.419, 0.590, 0.723, 0.315, 0.336),
}
# attack: harmful completions that Llama Guard finds
GUARD_BY_ATTACK = {
    "PAP": 0.05, "PAIR": 0.21, "DirectRequest": 0.23, "TAP": 0.24, "EnsembleGCG": 0.27,
    "GBDA": 0.36, "UAT": 0.47, "GCG": 0.50, "AutoPrompt": 0.53, "AutoDan": 0.56,
}  # fmt: skip
# model: compliance, refusal, partial; annotators' kappa; the kappa of XSTest's list on compliance
XSTEST = {
    "Llama 2": ((176, 230, 44), 0.926, 0.844),
    "Mistral guarded": ((210, 199, 41), 0.892, 0.624),
    "Mistral Instruct": ((374, 49, 27), 0.920, 0.289),
}
LABELS = ("compliance", "refusal", "partial")
SECRET = "quondle the marvet"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: Patch) -> Path:
    """A folder of its own for figures, with the default study's file."""
    study = tmp_path / "home" / "data" / "micro" / "study.yaml"
    study.parent.mkdir(parents=True)
    shutil.copy(paths.repository() / "data" / "micro" / "study.yaml", study)
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook's names, on the real files; and all that it wrote, in a folder of its own."""
    if not MIRROR:
        pytest.skip("GROUNDED_MIRROR names no folder with the real files")
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("real")
        patch.setenv("GROUNDED_HOME", str(root))
        (root / "data" / "micro").mkdir(parents=True)
        shutil.copy(paths.repository() / "data/micro/study.yaml", root / "data" / "micro")
        found, shown = run_notebook(NAME, "micro")
        kept = [f.read_text() for f in paths.figures("micro").iterdir() if f.suffix != ".png"]
        yield found | {"said": texts(shown), "kept": "".join(kept)}


def test_people_on_harmbench(names: dict[str, Any]) -> None:
    row = names["people"].set_index("completions").loc["HarmBench"]
    assert [round(row[n], 3) for n in ("alpha", "ac1", "unanimous")] == [0.744, 0.751, 0.811]
    every = names["every"]
    assert (every["n"] == 602).all() and every["people"].round(3).eq(0.453).all()


@pytest.mark.parametrize("judge", HARMBENCH)
def test_judge_on_harmbench(names: dict[str, Any], judge: str) -> None:
    row = names["every"].set_index("judge").loc[judge]
    columns = ["rate", "sensitivity", "specificity", "kappa", "ac1"]
    assert row[columns].tolist() == pytest.approx(HARMBENCH[judge], abs=0.00051)


@real
def test_advbench_list_gives_the_stored_verdicts() -> None:
    frame = human_labels.harmbench()
    assert len(frame) == 602 and frame["request"].nunique() == 301
    assert frame["keywords_advbench"].equals(frame["advbench"].rename("keywords_advbench"))


def test_llama_guard_by_attack(names: dict[str, Any]) -> None:
    rows = names["attacks"].set_index("attack")
    assert rows["found"].round(2).to_dict() == GUARD_BY_ATTACK
    assert rows["harmful"].sum() == 273


@pytest.mark.parametrize("model", XSTEST)
def test_xstest(names: dict[str, Any], model: str) -> None:
    counts, annotators, kappa = XSTEST[model]
    frame = human_labels.xstest()
    own = frame[frame["model"] == model]
    assert tuple((own["final"] == label).sum() for label in LABELS) == counts
    people = names["people"].set_index("completions")
    assert round(people.loc[model, "kappa"], 3) == annotators
    rows = names["xstest"].set_index(["reference", "model", "judge"])
    found = rows.loc[("compliance", model, "keywords_xstest")]
    assert found["kappa"] == pytest.approx(kappa, abs=0.00051)
    assert rows.loc[("no full refusal", model, "keywords_xstest"), "people"] == pytest.approx(
        1 - counts[1] / 450, abs=1e-6
    )


def test_what_is_said_is_what_was_found(names: dict[str, Any]) -> None:
    said = " ".join(names["said"].split())
    assert "**16%** (GPT-3.5 Turbo 0613) to **74%** (XSTest keywords)" in said
    assert "χ² 26.1, 9 df, p = 0.002" in names["said"] and "nan" not in names["said"]


def test_no_text_of_a_completion_is_kept(names: dict[str, Any]) -> None:
    rows = json.loads(sources.fetch("harmbench_judge_val").read_text()).values()
    found = [row[field] for pair in rows for row in pair for field in ("generation", "test_case")]
    for model in XSTEST_MODELS:
        frame = pd.read_csv(sources.fetch(f"xstest_{model}"), keep_default_na=False)
        found += [*frame["prompt"], *frame["completion"]]
    lines = {line.strip()[:60] for text in found for line in text.splitlines()}
    kept = names["kept"] + names["said"]
    assert not [line for line in lines if len(line) > 25 and line in kept]


# ---- agreement, by other formulas


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=4, max_size=40))
def test_agreement_is_that_of_scikit_learn(rows: list[tuple[bool, bool]]) -> None:
    truth, said = (pd.Series(column) for column in zip(*rows, strict=True))
    cells = agreement.four(said, truth, [i // 2 for i in range(len(rows))])
    assert cells.to_numpy().sum() == len(rows) and len(cells) == (len(rows) + 1) // 2
    found = agreement.estimates(cells)
    for name, of, hit in (("sensitivity", truth, said), ("specificity", ~truth, ~said)):
        assert found[name] == pytest.approx(hit[of].mean() if of.any() else np.nan, nan_ok=True)
    if truth.nunique() + said.nunique() > 2:
        assert found["kappa"] == pytest.approx(cohen_kappa_score(truth, said))


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 4), st.integers(2, 3), st.integers(0, 2**16))
def test_raters_by_other_formulas(persons: int, labels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    votes = rng.integers(0, labels, (30, 1)) * (rng.random((30, persons)) < 0.7)
    frame = pd.DataFrame(votes.astype(str), columns=[f"p{i}" for i in range(persons)])
    found = agreement.raters(frame, pd.Series(np.arange(30) // 2))
    used = np.unique(votes)
    assert found["unanimous"] == np.mean([len(set(row)) == 1 for row in votes])
    if len(used) < 2:
        assert np.isnan(found["alpha"])
        return
    table = np.stack([(votes == label).sum(1) for label in used], axis=1)
    # with no label missing, alpha is Fleiss' kappa with a correction for few items
    fleiss = fleiss_kappa(table)
    assert found["alpha"] == pytest.approx(fleiss + (1 - fleiss) / (30 * persons))
    if persons == 2 and len(used) == 2:
        one, two = (votes[:, i] == used[0] for i in (0, 1))
        cells = agreement.four(one, two, range(30)).to_numpy()
        assert found["ac1"] == pytest.approx(agreement.ac1(cells.sum(0, keepdims=True))[0])
    assert found["alpha_low"] <= found["alpha_high"] and found["ac1_low"] <= found["ac1_high"]


def test_resampling_clusters_sees_through_copies() -> None:
    """Every completion twice tells no more than once."""
    rng = np.random.default_rng(3)
    truth, said = rng.random((2, 150)) < 0.5
    once = agreement.estimates(agreement.four(said, truth, range(150)))
    both = [np.tile(values, 2) for values in (said, truth, np.arange(150))]
    twice = agreement.estimates(agreement.four(both[0], both[1], list(both[2])))
    assert twice["kappa_high"] == pytest.approx(once["kappa_high"])
    assert twice["kappa_low"] == pytest.approx(once["kappa_low"])


# ---- invented completions: what is read, what is kept, and what happens offline


@pytest.fixture
def invented(tmp_path: Path, monkeypatch: Patch, home: Path) -> Path:
    """A mirror laid out as the real one, of completions that are invented here."""
    mirror, rng = tmp_path / "mirror", np.random.default_rng(1)
    attacks = ["DirectRequest", "PAP", "GCG"]
    behaviours: dict[str, list[dict[str, Any]]] = {}
    for b in range(24):
        behaviours[f"b{b}"] = rows = []
        for method in rng.choice(attacks, 2):
            harmful = rng.random() < 0.5
            say = (rng.random(14) < (0.8 if harmful else 0.2)).astype(int).tolist()
            text = f"Sure: {SECRET}." if rng.random() < 0.5 else f"I cannot {SECRET}."
            row: dict[str, Any] = {"test_case": SECRET, "generation": text, "method": method}
            row |= {"behavior_id": f"b{b}"}
            row |= dict(zip(human_labels.STORED, say, strict=False))
            row["gpt-3.5-turbo-0613"] = "yes" if say[11] else "no"
            row["PAIR_gpt-4-0613"] = "Rating: [[10]]" if say[12] else "Rating: [[7]]"
            row |= {f"human_{p}": int(harmful != (rng.random() < 0.1)) for p in range(3)}
            rows.append(row)
    files = {"harmbench_judge_val": json.dumps(behaviours)}
    stored = {own: stored for stored, own in human_labels._XSTEST_LABELS.items()}
    for model in XSTEST_MODELS:
        truth = rng.choice(LABELS, 30)
        table = {
            "id": [f"v{i}" for i in range(30)],
            "type": ["contrast_x" if i % 2 else "x" for i in range(30)],
            "prompt": SECRET,
            "completion": [f"Sorry, {SECRET}" if t == "refusal" else SECRET for t in truth],
            "final_label": [stored[t] for t in truth],
            "annotation_1": [stored[t] for t in truth],
            "annotation_2": [stored[t] for t in [LABELS[0], *truth[1:]]],
        }
        files[f"xstest_{model}"] = pd.DataFrame(table).to_csv(index=False)
    for name, text in files.items():
        source = sources.SOURCES[name]
        file = mirror / source.mirror
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        sha = hashlib.sha256(text.encode()).hexdigest()
        # port 9 of loopback: nobody listens there, so offline is refused at once
        changed = replace(source, sha256=sha, url="http://127.0.0.1:9/file")
        monkeypatch.setitem(sources.SOURCES, name, changed)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("GROUNDED_MIRROR", str(mirror))
    return mirror


def test_stored_verdicts_are_read_in_each_of_their_forms(invented: Path) -> None:
    frame = human_labels.harmbench()
    rows = [r for pair in json.loads(sources.fetch("harmbench_judge_val").read_text()).values()
            for r in pair]  # fmt: skip
    assert frame["PAIR_gpt-4-0613"].tolist() == ["10" in r["PAIR_gpt-4-0613"] for r in rows]
    assert frame["gpt-3.5-turbo-0613"].tolist() == [r["gpt-3.5-turbo-0613"] == "yes" for r in rows]
    assert frame["cls"].tolist() == [r["cls"] == 1 for r in rows]
    votes = [r["human_0"] + r["human_1"] + r["human_2"] for r in rows]
    assert frame["truth"].tolist() == [v >= 2 for v in votes]
    assert frame["keywords_advbench"].tolist() == [r["generation"][0] == "S" for r in rows]
    xstest = human_labels.xstest()
    assert (xstest["truth"] == (xstest["final"] == "compliance")).all()
    assert (xstest["keywords_xstest"] == (xstest["final"] != "refusal")).all()
    assert xstest["safe"].mean() == 0.5
    for found in (frame, xstest):
        assert SECRET.split()[0] not in found.to_csv()


def test_a_readers_change_of_one_line_changes_the_figure(invented: Path) -> None:
    file = paths.figures("micro") / f"{NAME}.csv"
    run_notebook(NAME, "micro")
    before = pd.read_csv(file).set_index("judge")["yes"]
    run_notebook(NAME, "micro", edit={'("says", "sum")': '("says", lambda s: (~s).sum())'})
    after = pd.read_csv(file).set_index("judge")
    assert (before + after["yes"]).eq(48).all()
    assert after["rate"].to_numpy() == pytest.approx(after["yes"].to_numpy() / 48, abs=1e-6)


def test_offline_the_committed_figure_stays(
    invented: Path, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = texts(run_notebook(NAME, "micro")[1])
    assert "note" not in capsys.readouterr().out and "nan" not in before
    files = {p: p.read_bytes() for p in paths.figures("micro").iterdir()}
    assert {p.name for p in files} == {
        *(f"{NAME}{kind}" for kind in (".csv", ".json", ".png", ".svg")),
        *(f"{NAME}_xstest{kind}" for kind in (".csv", ".png", ".svg")),
        f"{NAME}_people.csv", f"{NAME}_attacks.csv",
    }  # fmt: skip
    assert not [p for p, held in files.items() if SECRET.split()[0].encode() in held]
    monkeypatch.delenv("GROUNDED_MIRROR")
    assert texts(run_notebook(NAME, "micro")[1]) == before
    assert {p: p.read_bytes() for p in paths.figures("micro").iterdir()} == files
    said = capsys.readouterr().out
    assert said.startswith(f"note: {NAME}.csv stays as it was kept, its data is absent: ")
    assert said.count("\n") == 4 and str(paths.home()) not in said


def test_offline_in_a_new_folder_draws_from_the_committed_numbers(
    invented: Path, monkeypatch: Patch, tmp_path: Path
) -> None:
    run_notebook(NAME, "micro")
    root = paths.home()
    drawn = {p.name: p.read_bytes() for p in paths.figures("micro").glob("*.png")}
    monkeypatch.setattr("grounded.paths.repository", lambda: root)
    shutil.copytree(root / "data", tmp_path / "new" / "data")
    shutil.copytree(Path(__file__).parents[1] / "notebooks", root / "notebooks")
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "new"))
    monkeypatch.delenv("GROUNDED_MIRROR")
    run_notebook(NAME, "micro")
    assert {p.name: p.read_bytes() for p in paths.figures("micro").glob("*.png")} == drawn


def test_offline_with_nothing_committed_says_what_to_fetch(
    invented: Path, monkeypatch: Patch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GROUNDED_MIRROR")
    cells = paths.repository()
    monkeypatch.setattr("grounded.paths.notebook", lambda n: cells / "notebooks" / f"{n}.ipynb")
    monkeypatch.setattr("grounded.paths.repository", lambda: tmp_path / "empty")
    with pytest.raises(SourceAbsent, match="harmbench_judge_val: found neither a copy nor a way"):
        run_notebook(NAME, "micro")


def test_changed_data_is_an_error_even_with_a_committed_figure(invented: Path) -> None:
    run_notebook(NAME, "micro")
    (invented / sources.SOURCES["xstest_llama2new"].mirror).write_text("id\n")
    with pytest.raises(sources.SourceError, match="xstest_llama2new.*sha256: found .* wanted"):
        run_notebook(NAME, "micro")


def test_every_judge_has_a_name_of_its_own() -> None:
    assert len(set(JUDGES.values())) == len(JUDGES) == 13
