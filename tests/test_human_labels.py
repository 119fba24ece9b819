"""Judges beside people: known answers on the real files, formulas, and what happens without data.

The known answers were worked out from the same files (by sha256) before this code was written:
HarmBench @ 8e1604d, data/classifier_val_sets/text_behaviors_val_set.json, and exaggerated-safety
@ d7bb5bd, model_completions/. They need GROUNDED_MIRROR, a folder that holds these files.
"""

import contextlib
import hashlib
import io
import json
import os
import shutil
from dataclasses import replace
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, recall_score
from statsmodels.stats.inter_rater import fleiss_kappa

from grounded import paths, sources, statistics
from grounded.figures import human_labels as figure
from grounded.human_labels import JUDGES, XSTEST_MODELS, agreement, completions, numbers
from grounded.human_labels.numbers import FIGURE, GUARD, Numbers
from grounded.sources import SourceAbsent

MIRROR = os.environ.get("GROUNDED_MIRROR")
real = pytest.mark.skipif(not MIRROR, reason="GROUNDED_MIRROR names no folder with the real files")

# judge: share called harmful, agreement, sensitivity, specificity, kappa, AC1
HARMBENCH = {
    "gpt-4-0613": (0.513, 0.910, 0.967, 0.863, 0.821, 0.821),
    "cls": (0.515, 0.909, 0.967, 0.860, 0.818, 0.817),
    "cls_mistral": (0.515, 0.905, 0.963, 0.857, 0.811, 0.811),
    "gpt-4-1106-preview": (0.407, 0.884, 0.821, 0.936, 0.763, 0.772),
    "PAIR_gpt-4-0613": (0.430, 0.880, 0.842, 0.912, 0.758, 0.764),
    "mixtral": (0.384, 0.847, 0.755, 0.924, 0.688, 0.702),
    "GPTFuzz": (0.377, 0.738, 0.626, 0.830, 0.463, 0.490),
    "advbench": (0.585, 0.679, 0.791, 0.587, 0.369, 0.360),
    "keywords_advbench": (0.585, 0.679, 0.791, 0.587, 0.369, 0.360),
    "gpt-3.5-turbo-0613": (0.161, 0.678, 0.322, 0.973, 0.312, 0.439),
    "llama_guard": (0.176, 0.673, 0.333, 0.954, 0.304, 0.424),
    "chatglm": (0.419, 0.663, 0.590, 0.723, 0.315, 0.336),
}
# attack: completions, and the share that Llama Guard finds of the harmful ones
GUARD_BY_ATTACK = {
    "PAP": (165, 0.05), "PAIR": (49, 0.21), "DirectRequest": (33, 0.23), "TAP": (53, 0.24),
    "EnsembleGCG": (34, 0.27), "GBDA": (137, 0.36), "UAT": (33, 0.47), "GCG": (26, 0.50),
    "AutoPrompt": (21, 0.53), "AutoDan": (51, 0.56),
}  # fmt: skip
# model: compliance, refusal, partial; annotators' kappa; XSTest's list on three labels (agreement,
# kappa) and on compliance against the rest
XSTEST = {
    "llama2new": ((176, 230, 44), 0.926, (0.856, 0.733), (0.924, 0.844)),
    "mistralguard": ((210, 199, 41), 0.892, (0.760, 0.558), (0.809, 0.624)),
    "mistralinstruct": ((374, 49, 27), 0.920, (0.851, 0.253), (0.860, 0.289)),
}
LABELS = ("compliance", "refusal", "partial")
SECRET = "quondle the marvet"


@pytest.fixture(scope="module")
def measured():
    """The numbers of the real files."""
    return numbers("micro")


@real
def test_people_on_harmbench(measured):
    frame = completions.harmbench()
    assert len(frame) == 602 and frame["behavior"].nunique() == 301
    people = measured.statistics["people"]["HarmBench"]
    found = [round(people[name], 3) for name in ("alpha", "ac1", "unanimous")]
    assert found == [0.744, 0.751, 0.811]
    assert frame["truth"].sum() == 273 and round(frame["truth"].mean(), 3) == 0.453


@real
@pytest.mark.parametrize("judge", HARMBENCH)
def test_judge_on_harmbench(measured, judge):
    table = measured.table
    row = table[(table["part"] == agreement.ALL) & (table["judge"] == judge)].iloc[0]
    names = ("rate", "agreement", "sensitivity", "specificity", "kappa", "ac1")
    # one judge's printed agreement of .885 stands for .8847, hence a unit in the last place
    assert [row[name] for name in names] == pytest.approx(HARMBENCH[judge], abs=0.00051)


@real
def test_advbench_list_gives_the_stored_verdicts():
    frame = completions.harmbench()
    assert frame["keywords_advbench"].equals(frame["advbench"].rename("keywords_advbench"))


@real
def test_llama_guard_by_attack(measured):
    rows = measured.attacks(GUARD).set_index("part")
    found = {a: (r["n"], round(r["sensitivity"], 2)) for a, r in rows.iterrows()}
    assert found == GUARD_BY_ATTACK
    assert ((rows["sensitivity_low"] < rows["sensitivity"]).all()) and rows["kappa"].isna().all()


@real
@pytest.mark.parametrize("model", XSTEST)
def test_xstest(measured, model):
    counts, annotators, three, two = XSTEST[model]
    frame = completions.xstest()
    own = frame[frame["model"] == model]
    assert tuple((own["final"] == label).sum() for label in LABELS) == counts
    people = measured.statistics["people"][f"XSTest {model}"]
    assert round(people["kappa"], 3) == annotators
    row = measured.xstest().set_index(["part", "judge"]).loc[(model, "keywords_xstest")]
    assert (row["agreement"], row["kappa"]) == pytest.approx(two, abs=0.00051)
    says = own["keywords_xstest"].map({True: "compliance", False: "refusal"})
    found = ((says == own["final"]).mean(), cohen_kappa_score(says, own["final"]))
    assert found == pytest.approx(three, abs=0.00051)


@real
def test_annotators_over_all_models():
    frame = completions.xstest()
    found = agreement.people(frame[["person_0", "person_1"]], frame["prompt"])
    assert len(frame) == 1350 and frame["prompt"].nunique() == 450
    # .964 and .937 over the five models; the two that have no file here agree better
    assert found["unanimous"] < 0.964 and found["kappa"] < 0.937


@real
def test_the_extremes_that_the_figure_is_about(measured):
    rates = measured.judges().set_index("judge")["rate"]
    assert (rates.idxmin(), rates.idxmax()) == ("gpt-3.5-turbo-0613", "keywords_xstest")
    text = figure.reading(measured)
    assert "16% (GPT-3.5 Turbo 0613) to 74% (XSTest keywords)" in text
    assert "5.4% after PAP and 56% after AutoDAN" in text and "version 1" in text


@real
def test_no_text_of_a_completion_is_kept(measured, home):
    figure.keep(figure.draw(measured), measured, "micro")
    folder = paths.figures("micro")
    kept = "".join((folder / f"{FIGURE}{kind}").read_text() for kind in (".csv", ".json", ".svg"))
    kept += figure.reading(measured) + figure.legend(measured)
    rows = json.loads(sources.fetch("harmbench_judge_val").read_text()).values()
    texts = [row[field] for pair in rows for row in pair for field in ("generation", "test_case")]
    for model in XSTEST_MODELS:
        frame = pd.read_csv(sources.fetch(f"xstest_{model}"), keep_default_na=False)
        texts += [*frame["prompt"], *frame["completion"]]
    lines = {line.strip()[:60] for text in texts for line in text.splitlines()}
    assert not [line for line in lines if len(line) > 25 and line in kept]


binary = st.lists(st.tuples(*[st.booleans()] * 4), min_size=4, max_size=40)


@settings(max_examples=10, deadline=None)
@given(binary)
def test_agreement_is_that_of_scikit_learn(rows):
    truth = pd.DataFrame(rows, columns=["truth", "a", "b", "group"])
    frame = truth.assign(cluster=np.arange(len(truth)) // 2)
    found = agreement.beyond_chance(frame, ["a", "b"], "cluster").set_index("judge")
    for judge in ("a", "b"):
        row = found.loc[judge]
        assert row["n"] == len(rows) == row[["tp", "fp", "fn", "tn"]].sum()
        assert row["agreement"] == pytest.approx((frame[judge] == frame["truth"]).mean())
        assert row["rate"] == pytest.approx(frame[judge].mean())
        assert row["truth_rate"] == pytest.approx(frame["truth"].mean())
        if frame["truth"].any():
            assert row["sensitivity"] == pytest.approx(recall_score(frame["truth"], frame[judge]))
        else:
            assert np.isnan(row["sensitivity"])
        if frame["truth"].nunique() + frame[judge].nunique() > 2:
            expected = cohen_kappa_score(frame["truth"], frame[judge])
            assert row["kappa"] == pytest.approx(expected)
        low, high = statistics.wilson([frame[judge].sum()], [len(frame)])
        assert (row["rate_low"], row["rate_high"]) == pytest.approx((low[0], high[0]))


def test_parts_add_up_to_the_whole():
    rng = np.random.default_rng(5)
    frame = pd.DataFrame(rng.random((60, 2)) < 0.4, columns=["truth", "judge"])
    frame = frame.assign(cluster=np.arange(60) // 2, attack=np.repeat(["x", "y", "z"], 20))
    whole = agreement.agreement(frame, ["judge"], "cluster").iloc[0]
    parts = agreement.agreement(frame, ["judge"], "cluster", "attack")
    assert list(parts["part"]) == ["x", "y", "z"]
    for name in ("n", "tp", "fp", "fn", "tn"):
        assert parts[name].sum() == whole[name]


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 4), st.integers(2, 3), st.integers(0, 2**16))
def test_people_by_other_formulas(persons, labels, seed):
    rng = np.random.default_rng(seed)
    votes = rng.integers(0, labels, (30, 1)) * (rng.random((30, persons)) < 0.7)
    frame = pd.DataFrame(votes.astype(str), columns=[f"p{i}" for i in range(persons)])
    found = agreement.people(frame, pd.Series(np.arange(30) // 2))
    used = np.unique(votes)
    assert found["unanimous"] == np.mean([len(set(row)) == 1 for row in votes])
    if len(used) < 2:
        assert np.isnan(found["alpha"])
        return
    table = np.stack([(votes == label).sum(1) for label in used], axis=1)
    # with no label missing, alpha is Fleiss' kappa with a correction for few items
    fleiss = fleiss_kappa(table)
    assert found["alpha"] == pytest.approx(fleiss + (1 - fleiss) / (30 * persons))
    pairs = [cohen_kappa_score(votes[:, i], votes[:, j]) for i in range(persons) for j in range(i)]
    assert found["kappa"] == pytest.approx(np.mean(pairs), nan_ok=True)
    if persons == 2 and len(used) == 2:
        a, b = votes[:, 0] == used[0], votes[:, 1] == used[0]
        cells = [int(both.sum()) for both in (a & b, b & ~a, a & ~b, ~a & ~b)]
        assert found["ac1"] == pytest.approx(statistics.ac1(*cells).value)
    assert found["alpha_low"] <= found["alpha_high"] and found["ac1_low"] <= found["ac1_high"]


def test_resampling_clusters_widens_what_copies_narrow():
    """Every completion twice tells no more than once: clusters see it, analytic bounds do not."""
    rng = np.random.default_rng(3)
    once = pd.DataFrame(rng.random((150, 2)) < 0.5, columns=["truth", "judge"])
    twice = pd.concat([once, once], ignore_index=True)
    width = {}
    for name, frame, clusters in (("once", once, 150), ("twice", twice, 150)):
        frame = frame.assign(cluster=np.arange(len(frame)) % clusters)
        row = agreement.beyond_chance(frame, ["judge"], "cluster").iloc[0]
        width[name] = row["kappa_high"] - row["kappa_low"]
    assert width["twice"] == pytest.approx(width["once"])


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder of its own for figures, with the default study's file."""
    study = tmp_path / "home" / "data" / "micro" / "study.yaml"
    study.parent.mkdir(parents=True)
    shutil.copy(paths.repository() / "data" / "micro" / "study.yaml", study)
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def invented(tmp_path, monkeypatch, home):
    """A mirror laid out as the real one, of completions that are invented here."""
    mirror, rng = tmp_path / "mirror", np.random.default_rng(1)
    attacks = ["DirectRequest", "PAP", "GCG"]
    behaviours = {}
    for b in range(24):
        rows = []
        for method in rng.choice(attacks, 2):
            harmful = rng.random() < 0.5
            say = (rng.random(14) < (0.8 if harmful else 0.2)).astype(int).tolist()
            text = f"Sure: {SECRET}." if rng.random() < 0.5 else f"I cannot {SECRET}."
            row = {
                "test_case": SECRET,
                "generation": text,
                "method": method,
                "behavior_id": f"b{b}",
            }
            row |= dict(zip(completions.STORED, say, strict=False))
            row["gpt-3.5-turbo-0613"] = "yes" if say[11] else "no"
            row["PAIR_gpt-4-0613"] = "Rating: [[10]]" if say[12] else "Rating: [[7]]"
            row |= {f"human_{p}": int(harmful != (rng.random() < 0.1)) for p in range(3)}
            rows.append(row)
        behaviours[f"b{b}"] = rows
    files = {"harmbench_judge_val": json.dumps(behaviours)}
    stored = {own: stored for stored, own in completions._XSTEST_LABELS.items()}
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


def test_stored_verdicts_are_read_in_each_of_their_forms(invented):
    frame = completions.harmbench()
    rows = [r for pair in json.loads(sources.fetch("harmbench_judge_val").read_text()).values()
            for r in pair]  # fmt: skip
    assert frame["PAIR_gpt-4-0613"].tolist() == ["10" in r["PAIR_gpt-4-0613"] for r in rows]
    assert frame["gpt-3.5-turbo-0613"].tolist() == [r["gpt-3.5-turbo-0613"] == "yes" for r in rows]
    assert frame["cls"].tolist() == [r["cls"] == 1 for r in rows]
    votes = [r["human_0"] + r["human_1"] + r["human_2"] for r in rows]
    assert frame["truth"].tolist() == [v >= 2 for v in votes]
    assert frame["keywords_advbench"].tolist() == [r["generation"][0] == "S" for r in rows]
    xstest = completions.xstest()
    assert (xstest["truth"] == (xstest["final"] == "compliance")).all()
    assert (xstest["keywords_xstest"] == (xstest["final"] != "refusal")).all()
    assert xstest["safe"].mean() == 0.5


def test_frames_and_figure_hold_no_text(invented):
    found = numbers("micro")
    figure.keep(figure.draw(found), found, "micro")
    kept = [completions.harmbench().to_csv(), completions.xstest().to_csv(), found.table.to_csv()]
    kept += [p.read_text() for p in paths.figures("micro").iterdir() if p.suffix != ".png"]
    assert len(kept) == 6
    assert not [text for text in kept if SECRET in text or SECRET.split()[0] in text]


def test_partial_refusals_are_counted_both_ways(invented):
    found, frame = numbers("micro"), completions.xstest()
    for model in XSTEST_MODELS:
        final = frame.loc[frame["model"] == model, "final"]
        for reference, share in (
            ("compliance", (final == "compliance").mean()),
            ("no full refusal", (final != "refusal").mean()),
        ):
            rows = found.xstest(reference)
            assert rows.loc[rows["part"] == model, "truth_rate"].unique() == pytest.approx(share)


def test_the_kept_numbers_are_those_drawn(invented):
    found = numbers("micro")
    drawn = figure.draw(found)
    figure.keep(drawn, found, "micro")
    kept = pd.read_csv(paths.figures("micro") / f"{FIGURE}.csv")
    lines = [line for axes in drawn.axes for line in axes.get_lines()]
    points = {float(np.ravel(x.get_xdata())[0]) for x in lines if x.get_marker() in ("o", "D", "s")}
    names = ("rate", "truth_rate", "sensitivity", "specificity", "kappa", "ac1")
    numbers_kept = kept[list(names)].to_numpy().ravel()
    missing = [x for x in points if not np.isclose(numbers_kept, x, atol=2e-5).any()]
    assert len(points) > 40 and not missing


def _go_offline(monkeypatch):
    monkeypatch.delenv("GROUNDED_MIRROR")


def test_offline_the_committed_figure_stays(invented, monkeypatch):
    before = numbers("micro")
    figure.keep(figure.draw(before), before, "micro")
    files = {p: p.read_bytes() for p in paths.figures("micro").iterdir()}
    assert len(files) == 4
    _go_offline(monkeypatch)
    after = numbers("micro")
    assert not after.measured
    assert after.origin.startswith("note: the committed figure 5 stays, its data is absent: ")
    assert "\n" not in after.origin and str(paths.home()) not in after.origin
    figure.keep(figure.draw(after), after, "micro")
    assert {p: p.read_bytes() for p in paths.figures("micro").iterdir()} == files
    assert figure.reading(after) == figure.reading(before)
    assert figure.legend(after) == figure.legend(before)


def test_offline_in_a_new_folder_draws_from_the_committed_numbers(invented, monkeypatch, tmp_path):
    before = numbers("micro")
    figure.keep(figure.draw(before), before, "micro")
    root = paths.home()
    monkeypatch.setattr("grounded.paths.repository", lambda: root)
    shutil.copytree(paths.home() / "data", tmp_path / "new" / "data")
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "new"))
    _go_offline(monkeypatch)
    after = numbers("micro")
    assert not after.measured
    figure.keep(figure.draw(after), after, "micro")
    assert len(list((tmp_path / "new" / "figures" / "micro").iterdir())) == 4


def test_offline_with_nothing_committed_says_what_to_fetch(invented, monkeypatch, tmp_path):
    monkeypatch.setattr("grounded.paths.repository", lambda: tmp_path / "empty")
    _go_offline(monkeypatch)
    with pytest.raises(SourceAbsent, match="harmbench_judge_val: found neither a copy nor a way"):
        numbers("micro")


def test_changed_data_is_an_error_even_with_a_committed_figure(invented):
    found = numbers("micro")
    figure.keep(figure.draw(found), found, "micro")
    (invented / sources.SOURCES["xstest_llama2new"].mirror).write_text("id\n")
    with pytest.raises(sources.SourceError, match="xstest_llama2new.*sha256: found .* wanted"):
        numbers("micro")


@pytest.mark.parametrize("offline", [False, True])
def test_the_notebook_runs(invented, monkeypatch, offline):
    if offline:
        found = numbers("micro")
        figure.keep(figure.draw(found), found, "micro")
        _go_offline(monkeypatch)
    page = nbformat.read(paths.notebook(FIGURE), as_version=4)
    said = io.StringIO()
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(said):
        for cell in page.cells:
            if cell.cell_type == "code":
                exec(cell.source, names)
    assert isinstance(names["found"], Numbers) and names["found"].measured is not offline
    assert said.getvalue().count("\n") == 1
    assert said.getvalue().startswith("note: " if offline else "measured from 48 completions")
    assert len(list(paths.figures("micro").glob(f"{FIGURE}.*"))) == 4


def test_every_judge_has_a_name_of_its_own():
    assert len(set(JUDGES.values())) == len(JUDGES) == 13
