"""What is incoherence: detectors and corruptions by known answers, the notebook on planted data."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve
from statsmodels.stats.proportion import proportion_confint

from grounded import coherence
from grounded.detectors import roc, scores
from grounded.detectors.corruptions import GRADED, KINDS, STRENGTHS, WHOLE, corrupted, known
from grounded.detectors.rates import rates
from grounded.errors import GroundedError

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
    counts = roc.tally(score, sought, list(draw.integers(0, 3, n)))
    assert counts.about()["auc"] == pytest.approx(roc_auc_score(sought, score))
    false, found, _ = roc_curve(sought, score, drop_intermediate=False)
    curve = counts.curve()
    assert curve["found"].to_numpy() == pytest.approx(np.interp(curve["false"], false, found))
    assert counts.about()["found"] == pytest.approx(np.interp(roc.FEW, false, found))


def test_an_infinite_score_is_the_most_suspicious_and_no_score_an_error() -> None:
    counts = roc.tally([np.inf, 1.0, 0.5], [True, False, False], ["a", "a", "b"])
    assert counts.about()["auc"] == 1
    with pytest.raises(GroundedError, match="score: found NaN, wanted a number"):
        roc.tally([np.nan], [True], ["a"])


def test_intervals_resample_whole_runs() -> None:
    """Copies of every reply within its run tell nothing new; runs that differ widen it."""
    draw = np.random.default_rng(4)
    run = np.repeat(np.arange(30), 20)
    sought = draw.random(600) < 0.3
    score = (sought + draw.normal(0, 1, 600)).round(1)
    once = roc.tally(score, sought, list(run)).about()
    four = roc.tally(np.tile(score, 4), np.tile(sought, 4), list(np.tile(run, 4))).about()
    for name in ("auc", "auc_low", "auc_high", "found_low", "found_high"):
        assert four[name] == pytest.approx(once[name])
    apart = roc.tally(score + 2 * sought * (run % 2), sought, list(run)).about()
    alike = roc.tally(score + sought, sought, list(run)).about()
    assert apart["auc_high"] - apart["auc_low"] > 1.3 * (alike["auc_high"] - alike["auc_low"])
    assert once["runs"] == 30 and once["sought"] + once["other"] == 600


def test_the_interval_of_an_area_covers_it() -> None:
    """Runs drawn from a population whose area is known: 1/2, since no score depends on the kind."""
    draw, held = np.random.default_rng(8), 0
    for _ in range(100):
        level = np.repeat(draw.normal(0, 1, 25), 12)  # what a run's replies share
        score = (level + draw.normal(0, 1, 300)).round(1)
        about = roc.tally(score, draw.random(300) < 0.5, list(np.repeat(range(25), 12))).about()
        held += about["auc_low"] <= 0.5 <= about["auc_high"]
    assert 85 <= held <= 100


def test_nothing_to_find_has_no_area() -> None:
    counts = roc.tally([1.0, 2.0], [False, False], ["a", "b"])
    assert np.isnan(counts.about()["auc"]) and counts.curve().empty


def test_rates_never_claim_certainty() -> None:
    counts = pd.DataFrame(
        {"run": list("abc") * 2, "kind": list("xxxyyy"), "n": 10, "k": [0, 0, 0, 1, 5, 9]}
    ).assign(missing=0)
    found = rates(counts, ["kind"]).set_index("kind")
    assert (found.loc["x", "low"], found.loc["x", "high"]) == pytest.approx(
        proportion_confint(0, 3, method="wilson")
    )
    assert found.loc["y", "low"] < 0.5 == found.loc["y", "rate"] < found.loc["y", "high"]


# ---- scores


@given(words)
def test_repetition_is_that_of_the_study(some: list[str]) -> None:
    text = " ".join(some)
    assert scores.repetition(text) == coherence.repeated_trigrams(text)


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


@pytest.mark.parametrize(
    ("kind", "strength", "line"),
    [
        ("scramble", 1, "corruption: found 'scramble', wanted one of shuffle, loop, truncate"),
        ("shuffle", 1.5, "corruption shuffle: strength: found 1.5, wanted 0 to 1"),
        ("loop", float("nan"), "corruption loop: strength: found nan, wanted 0 to 1"),
        ("echo", 0.5, "corruption echo: strength: found 0.5, wanted 0 or 1"),
    ],
)
def test_bad_corruptions_are_one_line(kind: str, strength: float, line: str) -> None:
    with pytest.raises(GroundedError) as error:
        corrupted("a b", kind, strength)
    assert str(error.value).startswith(line) and "\n" not in str(error.value)


def test_what_may_still_be_harmful_is_never_a_false_alarm() -> None:
    for kind in KINDS:
        assert known(kind, 0, True) == "harmful by label" and known(kind, 0, False) == "by label"
        assert known(kind, 1, True) in ("by construction", "by assumption")
    for kind in GRADED:
        assert known(kind, 0.75, True) == "open"
        assert known(kind, 0.75, False) == "by assumption"
    assert known("truncate", 1, True) == known("number", 1, True) == "by construction"
    assert known("echo", 1, False) == known("shuffle", 1, True) == "by assumption"
