"""The rewritten notebooks give the numbers that the figures gave before, on the same tables.

tests/frozen holds the statistics of `micro`'s figures as the former code wrote them (commit
a062833). They go when the tables of `micro` are made anew.
"""

import json
from typing import Any

import pytest

from grounded import paths
from grounded.human_labels import XSTEST_MODELS


def frozen(name: str) -> Any:
    file = paths.repository() / "tests" / "frozen" / f"{name}.json"
    return json.loads(file.read_text())["statistics"]


def now(name: str) -> Any:
    file = paths.repository() / "figures" / "micro" / f"{name}.json"
    return json.loads(file.read_text())["statistics"]


def same(found: Any, wanted: Any) -> None:
    """Equal to six digits, as both are written; None (not defined) is None."""
    if isinstance(found, list):
        assert [x is None for x in found] == [x is None for x in wanted]
        found, wanted = ([x for x in one if x is not None] for one in (found, wanted))
    assert found == pytest.approx(wanted, rel=5e-6, abs=1e-9)


def test_figure_1() -> None:
    names = {"capability": "strict capability", "harmfulness": "harmfulness rate"}
    new = {(r["measure"], r["task"], r["model"]): r for r in now("figure_1_epochs")["changes"]}
    for quantity, measure in names.items():
        for before in frozen("figure_1_epochs")[quantity]:
            row = new[measure, before["task"], before["model"]]
            same([row["change"] / 100, row["pairs"]], [before["change"], before["n"]])
            # statsmodels' correction for few clusters is not the former code's, which also took
            # the wider of three intervals: less than a tenth of a point
            for bound in ("low", "high"):
                assert row[bound] / 100 == pytest.approx(before[bound], abs=1e-3)


def test_figure_2() -> None:
    old, new = frozen("figure_2_judgments"), now("figure_2_judgments")
    rows = {(r["by"], r["task"], r["model"]): r for r in new["incoherence"]}
    for before in old["incoherence"]:
        row = rows["detector", before["task"], before["model"]]
        same([row[k] / 100 for k in ("base", "last", "change")],
             [before[k] for k in ("base", "last", "change")])  # fmt: skip
        for bound in ("low", "high"):
            assert row[bound] / 100 == pytest.approx(before[bound], abs=1e-3)
    what = {True: "replies that are harmful in truth", False: "replies that are not"}
    rates = {(r["judge"], r["kind"], r["replies"]): r for r in new["rates"]}
    for before in old["by_truth"]:
        row = rates[before["judge"], before["kind"], what[before["truth_harm"]]]
        same([row[k] for k in ("n", "yes", "rate")], [before[k] for k in ("n", "k", "rate")])
    for share in ("sensitivity", "specificity"):
        same(new["detector"][share], old["detector"][share])


def test_figure_3() -> None:
    names = {
        "slope": "slope", "low": "low", "high": "high", "R²": "r2", "R², unseen runs": "left_out",
        "R² / reliability": "corrected", "within": "within", "between": "between",
        "log-odds": "odds",
    }  # fmt: skip
    old = {r["measure"]: r for r in frozen("figure_3_evaluators")["lines"] if "all" in r["model"]}
    new = [r for r in now("figure_3_evaluators")["lines"] if r["score"] == "strict"]
    assert len(new) == len(old) == 2
    for row in new:
        before = old[row["measure"].removesuffix(" rate")]
        same([row[name] for name in names], [before[name] for name in names.values()])


def test_figure_4() -> None:
    truths = {"truth:harm": "truth: harmful", "truth:compliance": "truth: fulfilled"}
    rows = {
        (r["task"], r["benchmark"], r["judge"]): r for r in now("figure_4_benchmarks")["changes"]
    }
    for before in frozen("figure_4_benchmarks")["conclusions"]:
        judge = truths.get(before["judge"], before["judge"])
        row = rows[before["task"], before["benchmark"], judge]
        same([row["change"] / 100, row["pairs"]], [before["change"], before["n"]])
        for bound in ("low", "high"):
            assert row[bound] / 100 == pytest.approx(before[bound], abs=2e-3)


@pytest.mark.parametrize("task", ["arithmetic", "multiple_choice", "science", "yes_no"])
def test_figure_3_of_the_other_tasks(task: str) -> None:
    twin = frozen(f"figure_3_evaluators_{task}")["lines"]
    old = {r["measure"]: r for r in twin if "all" in r["model"]}
    for row in now("figure_3_evaluators")["slopes"]:
        if row["task"] == task and row["score"] == "strict":
            before = old[row["measure"].removesuffix(" rate")]
            same(
                [row["estimate"], row["low"], row["high"]],
                [before[k] for k in ("slope", "low", "high")],
            )


def test_the_claims_by_task() -> None:
    """Claims 0 and 1 were means over tasks: of each, as it was told in points with one digit."""
    old = {row["claim"]: row for row in frozen("the_claims")["claims"]}
    words = {"0": "harm judge", "1": "detector"}
    new = [r for r in now("the_claims")["by task"] if words.get(r["claim"]) == r["source"]]
    assert len(new) == 10
    for row in new:
        task = row["task"].replace("yes_no", "yes/no").replace("_", " ")
        told = dict(part.rsplit(" ", 1) for part in old[row["claim"]]["by_task"].split("; "))
        assert f"{row['estimate']:+.1f}".replace("-", "−") == told[task]


def test_the_claims_over_models_and_tasks() -> None:
    """Verdicts are missing for none of these: elsewhere a pair with a missing half is left out."""
    old = {row["claim"]: row["estimate"] for row in frozen("the_claims")["claims"]}
    over = {(r["claim"], r["source"]): r["estimate"] for r in now("the_claims")["over tasks"]}
    pooled = now("the_claims")["pooled"]
    same(over["1", "detector"], old["1"])
    same(pooled["H1, harm judge"]["ratio"], old["H1"])
    same(pooled["H2, detector"], old["H2"])


def test_figure_5() -> None:
    old, new = frozen("figure_5_human_labels"), now("figure_5_human_labels")
    columns = {
        "kappa_with_one_person": "one_person", "rank_of_attacks": "rank_of_attacks",
        "one_of_two": "one_of_two",
    }  # fmt: skip
    for row in new["judges"]:
        before = [old[name][row["judge"]] for name in columns]
        same([row[name] for name in columns.values()], before)
    names = {"HarmBench": "HarmBench"}
    names |= {f"XSTest {key}": name for key, name in XSTEST_MODELS.items()}
    people = {row.pop("completions"): row for row in new["people"]}
    for key, name in names.items():
        was = {"raters" if k == "persons" else k: v for k, v in old["people"][key].items()}
        same(people[name], was)
    attack = new["attacks"][0]
    joint = old["misses_by_attack"]["joint"]
    same(
        [attack["chi2"], attack["df"], attack["p_joint"]],
        [joint[k] for k in ("statistic", "df", "p")],
    )
    terms = {r["term"].partition(" ")[0]: r for r in old["misses_by_attack"]["terms"]}
    for row in new["attacks"]:
        was = terms[row["attack"]]  # log-odds
        same(
            [row["log-odds"], row["low"], row["high"]],
            [was[k] for k in ("estimate", "low", "high")],
        )


def test_how_far_to_trust_the_judges() -> None:
    name = "how_far_to_trust_the_judges"
    old, new = frozen(name), now(name)
    old |= frozen(f"{name}_agreement")
    known = {"truth:harm": "truth_harm", "truth:compliance": "truth_fulfilled"}
    ends = ("", "_low", "_high")
    five = [
        f"{m}{e}" for m in ("sensitivity", "specificity", "kappa", "ac1", "alpha") for e in ends
    ]
    three = [f"{m}{e}" for m in ("change", "composition", "verdicts") for e in ends]
    beside = {
        "reliability": (["judge", "stratum"], [*five, "tp", "fp", "fn", "tn", "missing"]),
        "pairs": (["benchmark", "first", "second"], ["n", *five[6:]]),
        "shifts": (["judge", "task"], three),
        "variance": (["factor", "judges"], ["variance", "share", "share_low", "share_high"]),
        "correction": (["judge", "task", "method"], ["truth", "bias", "coverage", "width"]),
    }  # fmt: skip
    for table, (key, columns) in beside.items():
        was = {tuple(known.get(row[k], row[k]) for k in key): row for row in old[table]}
        assert new[table]
        for row in new[table]:
            row |= {"stratum": row.get("kind"), "judges": "all"}
            before = was[tuple(row[k] for k in key)]
            same([row[c] for c in columns], [before[c] for c in columns])


def rows_equal(found: list[dict[str, Any]], wanted: list[dict[str, Any]], *names: str) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        for name in names:
            if other[name] is None or isinstance(other[name], str):
                assert one[name] == other[name]
            else:
                same(one[name], other[name])


def test_the_registered_test_of_anchoring() -> None:
    old, new = frozen("does_anchoring_help"), now("does_anchoring_help")
    interval = ("ratio", "low", "high")
    rows_equal(new["primary"], old["primary"], *interval, "p", "cells", "runs", "smallest",
               "planned", "by_sums", "conclusion")  # fmt: skip
    rows_equal(new["secondary"], old["secondary"], "hypothesis", "fixed", "anchored", "difference",
               "low", "high", "p", "p_holm", "verdict")  # fmt: skip
    every = [row for row in new["ratios"] if row["of"] == "all cells"]
    rows_equal(every, old["controls"], *interval, "cells", "runs")
    rows_equal(new["controls"], old["controls"][1:], "p_holm", "verdict")
    told = {(row["choice"], row["value"]): row for row in new["choices"]}
    names = {"metric": "score", "truth:harm": "the truth"}
    for row in old["sensitivities"]:
        key = (names.get(row["choice"], row["choice"]), names.get(row["value"], row["value"]))
        if "keywords" not in key[1] and key[1] != "truth:compliance":  # they say nothing of harm
            rows_equal([told[key]], [row], *interval, "cells", "runs")
    for row in (row for row in old["depths"] if row["task"] == "all"):
        rows_equal([told["alignment steps", f"{row['depth']:,}"]], [row], *interval)


def test_mitigations() -> None:
    old, new = frozen("mitigations_at_equal_capability"), now("mitigations_at_equal_capability")
    told = {(r["place"], r["outcome"], r["name"]): r for r in new["changes"]}
    beside = {(r["place"], r["name"]): r for r in new["against_controls"]}
    outcomes = {"harm": "harm", "incoherence": "garbled", "over-refusal": "refused"}
    for place, key in (("at the goal", "at_goal"), ("at the last epoch", "at_end")):
        for row in old[key]:
            pairs = [(told.get((place, o, row["name"])), was) for o, was in outcomes.items()]
            pairs.append((beside.get((place, row["name"])), "harm_control"))
            for found, was in pairs:
                if row[f"{was}_change"] is None:
                    assert found is None
                    continue
                assert found is not None
                for name in ("change", "p_holm"):
                    same(found[name], row[f"{was}_{name}"])
            if key == "at_goal":
                assert new["attained"][row["name"]] == row["attained"]
    assert len(told) > 250


def test_what_is_incoherence() -> None:
    old, new = frozen("what_is_incoherence"), now("what_is_incoherence")
    areas = {(r["sought"], r["task"], r["detector"]): r for r in old["areas"]}
    for row in new["areas"]:
        was = areas[row["sought"], row["task"], row["detector"]]
        columns = ["auc", "auc_low", "auc_high", "found", "n_sought", "n_other"]
        same([row[c] for c in columns], [was[c] for c in columns])
    ruled = {(r["task"], r["kind"]): r for r in old["rule"]}
    shares = {(r["task"], r["by"]): r for r in old["shares"] if r["when"] in ("base", "last")}
    rows = [(row, ruled[row["task"], row["kind"]]) for row in new["rule"]]
    rows += [(row, shares[row["task"], row["by"]]) for row in new["shares"]]
    assert len(rows) == 18 + 14
    for row, was in rows:
        found = [row[c] for c in ("rate", "rate_low", "rate_high", "n", "k")]
        same(found, [was[c] for c in ("rate", "low", "high", "n", "k")])
    moved = frozen("what_is_incoherence_real_text")["directions"]
    changes = {(r["judge"], r["kind"]): r for r in moved if r["people"] == "found harmless"}
    for row in new["changes"]:
        was = changes[row["judge"], row["kind"]]
        same([row["change"], row["n"]], [was["change"], was["n"]])
