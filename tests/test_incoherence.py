"""What is incoherence: detectors and corruptions by known answers, the notebook on planted data."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import run_notebook, texts
from sklearn.metrics import roc_auc_score, roc_curve
from statsmodels.stats.proportion import proportion_confint

from grounded import coherence, fingerprint, keywords, paths, records, sources
from grounded.detectors import judging, roc, scores
from grounded.detectors.challenge import UNTOUCHED, challenge
from grounded.detectors.corruptions import GRADED, KINDS, STRENGTHS, WHOLE, corrupted, known
from grounded.errors import GroundedError
from grounded.public.kinds import repeated
from grounded.statistics.intervals import share
from grounded.study import Study

NAME = "what_is_incoherence"
JUDGES = ["keywords_advbench", "keywords_xstest"]
SECRET = "quondle the marvet"
words = st.lists(st.sampled_from(["a", "b", "the", "Sorry,", "x.", "\n", "é"]), max_size=30)


# ---- ROC


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20), st.integers(2, 60), st.integers(1, 8))
def test_area_and_curve_are_those_of_scikit_learn(seed: int, n: int, levels: int) -> None:
    draw = np.random.default_rng(seed)
    score, sought = draw.integers(0, levels, n) / 4, draw.random(n) < 0.4
    sought[:2] = True, False
    about = roc.area(score, sought, list(draw.integers(0, 3, n)))
    assert about["auc"] == pytest.approx(roc_auc_score(sought, score))
    false, found, _ = roc_curve(sought, score, drop_intermediate=False)
    assert about["found"] == pytest.approx(np.interp(roc.FEW, false, found))


def test_an_infinite_score_is_the_most_suspicious_and_no_score_an_error() -> None:
    assert roc.area([np.inf, 1.0, 0.5], [True, False, False], ["a", "a", "b"])["auc"] == 1
    with pytest.raises(GroundedError, match="score: found NaN, wanted a number"):
        roc.area([np.nan], [True], ["a"])


def test_intervals_resample_whole_runs() -> None:
    """Copies of every reply within its run tell nothing new; runs that differ widen it."""
    draw = np.random.default_rng(4)
    run = np.repeat(np.arange(30), 20)
    sought = draw.random(600) < 0.3
    score = (sought + draw.normal(0, 1, 600)).round(1)
    once = roc.area(score, sought, list(run))
    four = roc.area(np.tile(score, 4), np.tile(sought, 4), list(np.tile(run, 4)))
    for name in ("auc", "auc_low", "auc_high", "found_low", "found_high"):
        assert four[name] == pytest.approx(once[name])
    apart = roc.area(score + 2 * sought * (run % 2), sought, list(run))
    alike = roc.area(score + sought, sought, list(run))
    assert apart["auc_high"] - apart["auc_low"] > 1.3 * (alike["auc_high"] - alike["auc_low"])
    assert once["runs"] == 30 and once["n_sought"] + once["n_other"] == 600


def test_the_interval_of_an_area_covers_it() -> None:
    """Runs drawn from a population whose area is known: 1/2, since no score depends on the kind."""
    draw, held = np.random.default_rng(8), 0
    for _ in range(100):
        level = np.repeat(draw.normal(0, 1, 25), 12)  # what a run's replies share
        score = (level + draw.normal(0, 1, 300)).round(1)
        about = roc.area(score, draw.random(300) < 0.5, list(np.repeat(range(25), 12)))
        held += about["auc_low"] <= 0.5 <= about["auc_high"]
    assert 85 <= held <= 100


def test_nothing_to_find_has_no_area() -> None:
    assert np.isnan(roc.area([1.0, 2.0], [False, False], ["a", "b"])["auc"])


def test_shares_never_claim_certainty() -> None:
    runs = list("aabbcc")
    none = share([0, 0, 0, 0, 0, np.nan], runs)
    assert (none["n"], none["k"], none["missing"], none["rate"]) == (5, 0, 1, 0)
    assert (none["rate_low"], none["rate_high"]) == pytest.approx(
        proportion_confint(0, 3, method="wilson")
    )
    some = share([1, 0, 1, 0, 1, 1], list("abcdef"))
    assert some["rate_low"] < some["rate"] == 4 / 6 < some["rate_high"]
    assert np.isnan(share([1, 0, 1, 0, 1, 1], runs)["rate_low"])  # of three runs, none
    assert np.isnan(share([np.nan], ["a"])["rate"])


# ---- scores


@given(words)
def test_repetition_is_that_of_the_study(some: list[str]) -> None:
    text = " ".join(some)
    assert repeated(text.split()) == coherence.repeated_trigrams(text)


def test_scores_point_where_they_say() -> None:
    plain = "The river rises in the hills and runs past three old towns before it meets the sea."
    loop = " ".join(["and then again"] * 30)
    french = "Le fleuve prend sa source dans les collines et traverse trois villes anciennes."
    found = scores.of_texts([plain, loop, french, "True", ""])
    assert found["repetition"][1] > 0.9 > found["repetition"][0] == 0
    assert found["compression"][1] > 2.4 > found["compression"][0] > found["compression"][3]
    assert found["compression"][4] == 0
    assert list(found["shortness"]) == [-17, -90, -13, -1, 0]
    assert found["language"][0] < 0.01 < 0.99 < found["language"][2]
    assert found["language"][4] > 0.9  # nothing to tell a language by


# ---- corruptions


@settings(max_examples=60)
@given(words, st.sampled_from(list(KINDS)), st.floats(0, 1), st.integers(0, 99))
def test_corruptions_keep_what_they_promise(
    some: list[str], kind: str, strength: float, seed: int
) -> None:
    text = "  ".join(some)
    strength = 1.0 if kind in WHOLE else strength
    found = corrupted(text, kind, strength, "the prompt", (seed, "name"))
    assert found == corrupted(text, kind, strength, "the prompt", (seed, "name"))
    assert corrupted(text, kind, 0, "the prompt", (seed, "name")) == text
    before, after = text.split(), found.split()
    if kind == "shuffle":
        assert sorted(before) == sorted(after)
        assert [c for c in found if c.isspace()] == [c for c in text if c.isspace()]
        moved = sum(a != b for a, b in zip(before, after, strict=True))
        assert moved <= round(strength * len(before))
    if kind == "loop":
        assert len(after) == len(before)
        kept = max(len(before) - round(strength * len(before)), min(5, len(before)))
        assert after[:kept] == before[:kept]
        assert all(after[i] == after[i - min(5, kept)] for i in range(kept, len(after)))
    if kind == "truncate":
        assert text.startswith(found)
        assert len(after) == len(before) - round(strength * len(before))
    if kind in WHOLE:
        answers = {"true": ["True"], "number": ["#### 42"], "echo": ["the prompt"]}
        assert found in answers.get(kind, ["(A)", "(B)", "(C)", "(D)"])


def test_more_strength_does_what_less_does_and_more() -> None:
    text = " ".join(f"w{i}" for i in range(200))
    before, hit = text.split(), set[int]()
    for strength in STRENGTHS[1:]:
        after = corrupted(text, "shuffle", strength, seed=(0, "x")).split()
        moved = {i for i, word in enumerate(after) if word != before[i]}
        assert len(moved) > 0.9 * strength * 200 and len(hit - moved) < 8  # some return by chance
        hit = moved
    one, other = (corrupted(text, "shuffle", 1.0, seed=(0, name)) for name in "xy")
    assert one != other != corrupted(text, "shuffle", 1.0, seed=(1, "y"))


def test_known_answers() -> None:
    text = "one two three four five six seven eight"
    assert corrupted(text, "truncate", 0.5) == "one two three four"
    assert corrupted(text, "truncate", 1) == ""
    assert corrupted(text, "loop", 0.25) == "one two three four five six two three"
    assert corrupted(text, "loop", 1) == "one two three four five one two three"
    assert corrupted("short", "loop", 1) == "short"
    assert corrupted(text, "echo", prompt="who?") == "who?"


def test_what_may_still_be_harmful_is_never_a_false_alarm() -> None:
    for kind in KINDS:
        assert known(kind, 0, True) == "harmful by label" and known(kind, 0, False) == "by label"
        assert known(kind, 1, True) in ("by construction", "by assumption")
    for kind in GRADED:
        assert known(kind, 0.75, True) == "open"
        assert known(kind, 0.75, False) == "by assumption"
    assert known("truncate", 1, True) == known("number", 1, True) == "by construction"
    assert known("echo", 1, False) == known("shuffle", 1, True) == "by assumption"


# ---- the invented world


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        small = synthetic.study()
        synthetic.write(small, {"open_instructions": 0.7, "yes_no": 0.3})
        yield small


@pytest.fixture(scope="module")
def raw(study: Study) -> pd.DataFrame:
    """Replies to harmful requests after the base model, beside the detectors' labels."""
    key = ["benchmark", "prompt", "run", "step"]
    texts = {"run": str, "benchmark": str}
    found = records.read_study(study, "replies").astype(texts)
    said = records.read_study(study, "coherence").astype(texts)
    for name in ("perplexity", "combined"):
        own = said[said["detector"] == name].rename(columns={"label": name, "score": f"{name}_at"})
        found = found.merge(own[[*key, name, f"{name}_at"]], on=key)
    harmful = found["benchmark"].isin(("orders", "questions"))
    return found[harmful & (found["step"] > 0)].astype({"truth": str})


@pytest.fixture(scope="module")
def page(study: Study) -> Any:
    """The notebook's names and what it says, on planted truth; real text as it was committed."""
    with pytest.MonkeyPatch.context() as patch:
        offline(patch)
        names, shown = run_notebook(NAME)
        yield names | {"text": texts(shown)}


def offline(patch: pytest.MonkeyPatch) -> None:
    # port 9 of loopback: nobody listens there, so offline is refused at once
    source = sources.SOURCES["harmbench_judge_val"]
    nowhere = replace(source, url="http://127.0.0.1:9/file", sha256="0" * 64)
    patch.setitem(sources.SOURCES, source.name, nowhere)
    patch.setenv("NO_PROXY", "127.0.0.1")
    patch.delenv("GROUNDED_MIRROR", raising=False)


def test_detectors_are_held_to_the_truth_of_the_tables(
    page: dict[str, Any], raw: pd.DataFrame
) -> None:
    areas = page["areas"].set_index(["sought", "task", "detector"])
    for sought, task in (("incoherent", "all"), ("incoherent", "yes_no"), ("mixed", "all")):
        own = raw if task == "all" else raw[raw["run"].str.contains(f".{task}.", regex=False)]
        some = own[own["truth"] != ("mixed" if sought == "incoherent" else "incoherent")]
        found = areas.loc[(sought, task, "perplexity")]
        yes = some["truth"] == sought
        assert found["auc"] == pytest.approx(roc_auc_score(yes, some["perplexity_at"]))
        assert (found["n_sought"], found["n_other"]) == (yes.sum(), (~yes).sum())
        assert found["auc_low"] < found["auc"] < found["auc_high"]
    assert (areas.loc[("incoherent", "all", "shortness")][["auc", "auc_low"]] == 0.5).all()


def test_the_rule_and_the_shares_are_counted_from_the_tables(
    page: dict[str, Any], raw: pd.DataFrame
) -> None:
    own = raw[raw["truth"] == "incoherent"]
    row = page["ruled"].set_index(["task", "kind"]).loc[("all", "incoherent")]
    assert (row["n"], row["k"]) == (len(own), (~own["combined"].astype(bool)).sum())
    assert row["rate"] == pytest.approx(0.85, abs=0.03)  # planted
    last = raw[(raw["step"] == 80) & raw["run"].str.contains(".yes_no.", regex=False)]
    row = page["rates"].set_index(["task", "by"]).loc[("yes_no", "truth")]
    assert row["rate"] == pytest.approx((last["truth"] == "incoherent").mean())
    assert row["rate_low"] < row["rate"] < row["rate_high"]


def test_a_readers_change_of_one_line_changes_the_figure(
    study: Study, page: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    offline(monkeypatch)
    file = paths.figures(study.name) / f"{NAME}.csv"
    before = pd.read_csv(file).query("part == 'share' and by == 'truth'")
    both = 'd["kind"] != "coherent", "rule": d["coherent"] == 0}.items()'
    run_notebook(
        NAME, edit={'d["kind"] == "incoherent", "rule": d["coherent"] == 0}.items()': both}
    )
    after = pd.read_csv(file).query("part == 'share' and by == 'truth'")
    assert after["k"].sum() > before["k"].sum() and (after["n"] == before["n"]).all()


# ---- real text


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "home"))
    synthetic.write(synthetic.study(seeds=[0, 1], benchmarks={"orders": 12}))
    return tmp_path / "home"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror that holds HarmBench's file as it is laid out, of completions invented here."""
    draw = np.random.default_rng(1)
    behaviours: dict[str, list[dict[str, Any]]] = {}
    for b in range(24):
        rows = []
        for _ in range(2):
            harmful = bool(draw.random() < 0.5)
            start = "Sure: first" if harmful or draw.random() < 0.3 else "I cannot, since"
            body = " ".join(draw.choice(SECRET.split(), 30))
            row = {"test_case": f"How do I {SECRET}?", "generation": f"{start} {body}."}
            rows.append(row | {f"human_{p}": int(harmful) for p in range(3)})
        behaviours[f"b{b}"] = rows
    source = sources.SOURCES["harmbench_judge_val"]
    file = tmp_path / "mirror" / source.mirror
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(behaviours))
    # port 9 of loopback: nobody listens there, so offline is refused at once
    changed = replace(source, sha256=fingerprint.file(file), url="http://127.0.0.1:9/file")
    monkeypatch.setitem(sources.SOURCES, source.name, changed)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("GROUNDED_MIRROR", str(tmp_path / "mirror"))
    return file


def test_the_challenge_set_is_judged_and_holds_no_text(mirror: Path) -> None:
    asked, notes = judging.gather(JUDGES)
    found = challenge(asked, seed=3)
    assert not notes and len(found) == 48 * (1 + 3 * 4 + 4)
    pd.testing.assert_frame_equal(found, challenge(asked, seed=3))
    assert not found.equals(challenge(asked, seed=4))
    rows = [row for rows in json.loads(mirror.read_text()).values() for row in rows]
    refused = [keywords.advbench(row["generation"]) for row in rows]
    untouched = found[found["kind"] == UNTOUCHED]
    assert (untouched["keywords_advbench"] == ~np.array(refused)).all()
    assert (untouched["harmful"] == [row["human_0"] == 1 for row in rows]).all()
    for kind in ("option", "true", "number"):
        own = found[found["kind"] == kind]
        assert (own["keywords_xstest"] == 1).all() and (own["known"] == "by construction").all()
    assert SECRET.split()[0] not in found.to_csv()


def test_judges_that_cannot_run_are_told_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked, notes = judging.gather(["keywords_advbench", "harmbench", "llama_guard_3_1b"])
    assert list(asked) == ["keywords_advbench"] and len(notes) == 2
    assert all(
        re.fullmatch(r"note: judge \w+ is left out: .*found (neither|None).*wanted.*", n)
        for n in notes
    )
    for names, line in (
        (["nobody"], "judges: found 'nobody', wanted one of keywords_advbench"),
        (["harmbench"], "judges: found none that can run here of harmbench"),
        ([], "judges: found none that can run here of none"),
    ):
        with pytest.raises(GroundedError, match=line):
            judging.gather(names)


# ---- the notebook


def test_broken_text_is_judged_as_planted(home: Path, mirror: Path) -> None:
    names, shown = run_notebook(NAME)
    found = challenge(judging.gather(JUDGES)[0])
    yes = names["yes"].set_index(["judge", "kind", "strength", "harmful"])
    own = found[(found["kind"] == "shuffle") & (found["strength"] == 0.5) & ~found["harmful"]]
    row = yes.loc[("keywords_xstest", "shuffle", 0.5, False)]
    assert (row["n"], row["k"]) == (len(own), own["keywords_xstest"].sum())
    certain = yes.loc[("keywords_xstest", "true", 1.0, True)]
    assert certain["rate"] == certain["rate_high"] == 1 and certain["rate_low"] < 1
    change = names["change"].set_index(["judge", "kind"])
    before = found[(found["kind"] == UNTOUCHED) & ~found["harmful"]]["keywords_xstest"]
    row = change.loc[("keywords_xstest", "true")]
    assert row["change"] == pytest.approx(1 - before.mean(), abs=1e-6)
    assert row["low"] < row["change"] < row["high"]
    # the list reads only how a reply begins, and a loop leaves that
    assert (change.loc[("keywords_xstest", "loop")][["change", "low", "high"]] == 0).all()
    auc = names["auc"].set_index(["detector", "kind", "strength"])["auc"]
    assert auc["shortness", "truncate", 1.0] == auc["shortness", "true", 1.0] == 1
    assert auc["shortness", "shuffle", 1.0] == auc["shortness", "loop", 0.5] == 0.5
    assert auc["repetition", "loop", 1.0] > 0.9
    folder = paths.figures("synthetic")
    kept = "".join(p.read_text() for p in folder.iterdir() if p.suffix in (".csv", ".json"))
    text = texts(shown)
    assert not [word for word in ("quondle", "marvet") if word in kept + text] and "nan" not in text
    assert set(json.loads((folder / f"{NAME}.json").read_text())["inputs"]) == {"code", "tables"}


def test_offline_the_committed_figure_stays(
    home: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = texts(run_notebook(NAME)[1])
    files = {p: p.read_bytes() for p in paths.figures("synthetic").iterdir()}
    assert capsys.readouterr().out == ""
    monkeypatch.delenv("GROUNDED_MIRROR")
    assert texts(run_notebook(NAME)[1]) == before
    assert {p: p.read_bytes() for p in paths.figures("synthetic").iterdir()} == files
    said = capsys.readouterr().out
    assert said.startswith(f"note: {NAME}_real_text_judges.csv stays as it was kept, its data is ")
    assert said.count("\n") == 3 and str(home) not in said


def test_a_single_run_without_incoherence_is_read_as_such(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path / "single"))
    small = synthetic.study(
        models=["micro-llama-s"], tasks=["yes_no"], lora=["r4-low"], seeds=[0],
        benchmarks={"questions": 5},
    )  # fmt: skip
    synthetic.write(small)
    for unit in small.units():
        file = paths.table(small.name, "replies", unit)
        frame, about = records.read(file, "replies"), records.metadata(file)
        records.write(file, "replies", frame.assign(truth="refusal"), {"runs": about["runs"]})
    text = texts(run_notebook(NAME)[1])
    assert "There is nothing to tell apart" in text and "nan" not in text


def test_without_a_truth_only_real_text_is_told_of(
    home: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Study, "has_truth", False)
    names, shown = run_notebook(NAME)
    assert "What is true of a reply is not known" in texts(shown) and "nan" not in texts(shown)
    assert len(names["yes"]) and not len(names["areas"])


def test_nothing_here_loads_torch() -> None:
    code = (
        "import sys; from grounded.detectors import challenge, judging, roc; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {
        "PYTHONPATH": str(paths.repository() / "lib")})  # fmt: skip
