"""How far to trust the judges: the statistics against references, the notebook on planted data."""

import json
import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
import synthetic
from sklearn.metrics import cohen_kappa_score, confusion_matrix
from test_figures import run_notebook, texts

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.figures import trust
from grounded.statistics import components, frames, joint, prevalence, reliability, shift
from grounded.study import Study

NAME = "how_far_to_trust_the_judges"
HARMFUL = ("orders", "questions")
NAN = float("nan")
JUDGES = ["harm", "harm_v2", "compliance", "compliance_v2", "keywords_micro"]


def with_versions(**changes: Any) -> Study:
    """The small study with a second version of both of its judges."""
    small = synthetic.study()
    judges = {name: judge.model_dump() for name, judge in small.judges.items()}
    for name in ("harm", "compliance"):
        judges[f"{name}_v2"] = judges[name] | {
            "training": judges[name]["training"] | {"data": "with_incoherent"}
        }
    return synthetic.study(**{"judges": {name: judges[name] for name in JUDGES}, **changes})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        small = with_versions()
        synthetic.write(small, {"open_instructions": 0.7, "yes_no": 0.3})
        yield small


@pytest.fixture(scope="module")
def counts(study: Study) -> pd.DataFrame:
    return trust.measure(study).counts


@pytest.fixture(scope="module")
def raw(study: Study) -> pd.DataFrame:
    """Verdicts beside the truth of their replies, row by row, straight from the tables."""
    key = ["benchmark", "prompt", "run", "step"]
    said = records.read_study(study, "verdicts").astype({"run": str, "benchmark": str})
    replies = records.read_study(study, "replies").astype({"run": str, "benchmark": str})
    found = said.merge(replies[[*key, "truth", "truth_harm", "truth_fulfilled"]], on=key)
    return found[found["benchmark"].isin(HARMFUL)].astype({"judge": str, "truth": str})


# ---- agreement with the truth


def alpha_by_pairs(labels: np.ndarray) -> float:
    """Krippendorff's alpha as defined: disagreement of pairs within replies over that of all pairs.

    labels: replies x 2, of 0 and 1. Every pair is looked at, none counted by formula.
    """
    observed = (labels[:, 0] != labels[:, 1]).mean()
    every = labels.ravel()
    unlike = every[:, None] != every[None, :]
    return float(1 - observed / (unlike.sum() / (len(every) * (len(every) - 1))))


def test_alpha_is_krippendorffs(rng: np.random.Generator) -> None:
    for four in (*rng.integers(0, 40, (20, 4)), [500, 3, 0, 2]):
        labels = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], four, axis=0)
        wanted = alpha_by_pairs(labels)
        assert reliability.alphas(np.array([four], dtype=float))[0] == pytest.approx(wanted)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_judges_are_measured_as_scikit_learn_measures_them(
    study: Study, counts: pd.DataFrame, raw: pd.DataFrame
) -> None:
    found = trust.reliability(study, counts).set_index(["judge", "stratum"])
    own = raw[(raw["judge"] == "compliance") & (raw["step"] > 0)]
    given = own.dropna(subset=["label"])
    incoherent = given[given["truth"] == "incoherent"]
    for stratum, part in (("all", given), ("incoherent", incoherent)):
        truth, said = part["truth_fulfilled"].astype(bool), part["label"].astype(bool)
        tn, fp, fn, tp = confusion_matrix(truth, said).ravel()
        row = found.loc[("compliance", stratum)]
        assert row[["tp", "fp", "fn", "tn"]].tolist() == [tp, fp, fn, tn]
        assert row["kappa"] == pytest.approx(cohen_kappa_score(truth, said))
        assert row["false_yes"] == pytest.approx(fp / (fp + fn))
        assert row["bias"] == pytest.approx(said.mean() - truth.mean())
        assert row["kappa_low"] < row["kappa"] < row["kappa_high"]
    whole = found.loc[("compliance", "all")]
    assert whole["missing"] == own["label"].isna().sum() > 0
    assert whole["if_missing_are_1"] == pytest.approx(own["label"].fillna(True).mean())
    assert whole["if_missing_are_0"] == pytest.approx(own["label"].fillna(False).mean())


def test_a_judge_without_errors_has_no_direction() -> None:
    four = np.array([[5.0, 0, 0, 5], [3, 0, 0, 9]])
    found = reliability.estimates(four, reliability.MEASURES)
    assert np.isnan([found["false_yes"], found["false_yes_low"]]).all()
    assert found["bias"] == 0 and found["alpha"] == found["kappa"] == 1


def test_second_versions_are_paired_on_the_same_replies(
    study: Study, counts: pd.DataFrame, raw: pd.DataFrame
) -> None:
    found = trust.versions(study, counts).set_index(["first", "stratum"])
    assert set(found["second"]) == {"harm_v2", "compliance_v2"}
    key = ["benchmark", "prompt", "run", "step", "truth", "truth_harm"]
    wide = raw[raw["step"] > 0].pivot(index=key, columns="judge", values="label").reset_index()
    both = wide[wide["truth"] == "incoherent"].dropna(subset=["harm", "harm_v2"])
    right = {j: both[j].astype(bool) == both["truth_harm"].astype(bool) for j in JUDGES[:2]}
    row = found.loc[("harm", "incoherent")]
    assert row["n"] == len(both)
    assert row["mended"] == (~right["harm"] & right["harm_v2"]).sum() > 0
    assert row["broken"] == (right["harm"] & ~right["harm_v2"]).sum()
    truth = both["truth_harm"].astype(bool)
    kappas = [cohen_kappa_score(truth, both[j].astype(bool)) for j in JUDGES[:2]]
    assert row["kappa"] == pytest.approx(kappas[1] - kappas[0])
    # planted: on incoherent replies the first says yes to .35, the second to .1
    assert row["specificity_low"] < 0.25 < row["specificity_high"]


def test_pairing_narrows_the_difference(rng: np.random.Generator) -> None:
    hard = rng.beta(2, 2, 40)  # how hard a run is for both judges
    errors = rng.binomial(500, hard)
    first = np.column_stack([500 - errors, 0 * errors, errors, 500 + 0 * errors]).astype(float)
    second = first + np.array([5, 0, -5, 0]) * (errors >= 5)[:, None]
    paired = reliability.difference(first, second, ["sensitivity"])
    alone = reliability.estimates(first, {"it": reliability.MEASURES["sensitivity"]})
    assert 0 < paired["sensitivity_low"] <= paired["sensitivity"]
    width = paired["sensitivity_high"] - paired["sensitivity_low"]
    assert width < 0.1 * (alone["it_high"] - alone["it_low"])


# ---- the split of a change


def test_the_split_adds_up_and_is_the_shapley_value(rng: np.random.Generator) -> None:
    n = rng.integers(1, 200, (2, 50, 3)).astype(float)
    k = np.floor(n * rng.random(n.shape))
    mix, say = shift.split(n[0], k[0], n[1], k[1])
    w, f = n / n.sum(-1, keepdims=True), k / n

    def rate(at: int, by: int) -> Any:
        return (w[at] * f[by]).sum(-1)

    assert (mix + say).sum(-1) == pytest.approx(rate(1, 1) - rate(0, 0))
    first, then = rate(1, 0) - rate(0, 0), rate(1, 1) - rate(0, 1)  # mean over the two orders
    assert mix.sum(-1) == pytest.approx((first + then) / 2)
    back = shift.split(n[1], k[1], n[0], k[0])
    assert back[0] == pytest.approx(-mix) and back[1] == pytest.approx(-say)


def test_a_kind_that_one_side_lacks_is_composition() -> None:
    base, last = np.array([10.0, 0]), np.array([5.0, 5])
    mix, say = shift.split(base, np.array([2.0, 0]), last, np.array([1.0, 4]))
    assert say == pytest.approx([0, 0])  # coherent: .2 before and after
    assert mix == pytest.approx([-0.5 * 0.2, 0.5 * 0.8])
    assert all((part == 0).all() for part in shift.split(base, base * 0, base, base * 0))


def test_the_intervals_of_both_parts_cover_the_truth() -> None:
    kinds, hits = ("coherent", "incoherent"), {"composition": 0, "verdicts_incoherent": 0}
    # base: a tenth incoherent, of which half yes, and .05 of the rest; then runs differ in both
    truth = {"composition": 0.3 * (0.35 - 0.05), "verdicts_incoherent": (0.2 - 0.5) * 0.25}
    for seed in range(200):
        draw = np.random.default_rng(seed)
        n = draw.binomial(200, draw.beta(4, 6, 40))
        n1 = np.column_stack([200 - n, n])
        k1 = np.column_stack([draw.binomial(200 - n, 0.05), draw.binomial(n, draw.beta(2, 8, 40))])
        pairs = pd.DataFrame({
            "run": np.repeat(np.arange(40), 2), "kind": kinds * 40, "n0": [180, 20] * 40,
            "k0": [9, 10] * 40, "n1": n1.ravel(), "k1": k1.ravel(),
        })  # fmt: skip
        found = shift.changes_by_kind(pairs, kinds)
        for part in hits:
            hits[part] += found[f"{part}_low"] <= truth[part] <= found[f"{part}_high"]
    assert all(0.89 <= hit / 200 <= 0.985 for hit in hits.values())


def test_shifts_are_those_of_the_tables(
    study: Study, counts: pd.DataFrame, raw: pd.DataFrame
) -> None:
    found = trust.shifts(study, counts).set_index(["task", "judge"])
    parts = found[["composition", "verdicts"]].sum(axis=1)
    assert parts.to_numpy() == pytest.approx(found["change"].to_numpy())
    kinds = found[[f"verdicts_{kind}" for kind in ("coherent", "mixed", "incoherent")]]
    assert kinds.sum(axis=1).to_numpy() == pytest.approx(found["verdicts"].to_numpy())
    own = raw[raw["judge"] == "keywords_micro"]
    last = own[(own["step"] == 80) & own["run"].str.contains(".yes_no.", regex=False)]
    base = own[own["run"].str.endswith(".base")]
    row = found.loc[("yes_no", "keywords_micro")]
    assert row["change"] == pytest.approx(last["label"].mean() - base["label"].mean())
    assert row["truth"] == found.loc[("yes_no", "truth:compliance"), "change"]
    # planted: yes_no garbles, and keyword lists take what is garbled for an answer
    assert row["composition_low"] > 0.2
    assert found.loc[("yes_no", "truth:compliance"), "composition_high"] < 0.05


# ---- agreement of judges among themselves


def test_pairs_are_those_of_the_tables(
    study: Study, counts: pd.DataFrame, raw: pd.DataFrame
) -> None:
    found = trust.pairs(study, counts).set_index(["benchmark", "first", "second"])
    key = ["benchmark", "prompt", "run", "step"]
    wide = raw[raw["step"] > 0].pivot(index=key, columns="judge", values="label")
    for benchmark in (*HARMFUL, "all"):
        own = wide if benchmark == "all" else wide.loc[benchmark]
        both = own[["harm", "compliance_v2"]].dropna().astype(bool)
        row = found.loc[(benchmark, "harm", "compliance_v2")]
        assert row["n"] == len(both)
        assert row["agreed"] == pytest.approx((both["harm"] == both["compliance_v2"]).mean())
        wanted = cohen_kappa_score(both["harm"], both["compliance_v2"])
        assert row["kappa"] == pytest.approx(wanted)
        alpha = alpha_by_pairs(both.to_numpy())
        assert row["alpha"] == pytest.approx(alpha)
    assert len(found) == 3 * (10 + 1)


# ---- variance components

SD = {
    "judge": 0.5, "benchmark": 0.6, "judge x benchmark": 0.3, "prompt": 0.7, "judge x prompt": 0.4,
    "run": 0.9, "run x judge": 0.5, "run x benchmark": 0.3, "run x judge x benchmark": 0.2,
    "run x prompt": 0.6, "run x judge x prompt": 0.8,
}  # fmt: skip


def crossed(draw: np.random.Generator, runs: int, prompts: int, benches: int, judges: int) -> Any:
    """Verdicts (here real numbers) with a normal effect of every factor, SD as planted."""
    place = np.repeat(np.arange(benches), prompts)
    said = np.full((runs, benches * prompts, judges), 2.0)
    for (run, level, judge), name in components.NAMES.items():
        width = (1, benches, benches * prompts)[level]
        effect = draw.normal(0, SD[name], (runs if run else 1, width, judges if judge else 1))
        said = said + (effect[:, place] if level == 1 else effect)
    return components.Verdicts(said, place)


def test_components_are_recovered_with_and_without_missing_verdicts() -> None:
    found: dict[bool, list[Any]] = {False: [], True: []}
    for seed in range(200):
        draw = np.random.default_rng(seed)
        whole = crossed(draw, 8, 4, 4, 4)
        lost = components.Verdicts(
            np.where(draw.random(whole.said.shape) < 0.15, np.nan, whole.said), whole.benchmark
        )
        for holes, verdicts in ((False, whole), (True, lost)):
            found[holes].append(components.components(verdicts).set_index("factor")["variance"])
    for rows in found.values():
        table = pd.DataFrame(rows)
        error = table.std() / np.sqrt(len(table))
        off = (table.mean() - pd.Series(SD)[table.columns] ** 2) / error
        assert (off.abs() < 3.5).all() and len(off) == 11


def test_components_are_those_of_a_mixed_model() -> None:
    # one benchmark and one judge: runs x prompts, balanced, for which REML is the ANOVA estimate
    draw = np.random.default_rng(4)
    said = draw.normal(0, 1, (12, 1)) + draw.normal(0, 0.7, (1, 9)) + draw.normal(0, 0.5, (12, 9))
    verdicts = components.Verdicts(said[:, :, None], np.zeros(9, dtype=int))
    found = components.components(verdicts).set_index("factor")["variance"]
    rows = pd.DataFrame(
        [(r, p, said[r, p]) for r, p in product(range(12), range(9))],
        columns=["run", "prompt", "y"],
    )
    fit = smf.mixedlm(
        "y ~ 1", rows.assign(one=1), groups="one",
        vc_formula={"prompt": "0 + C(prompt)", "run": "0 + C(run)"},
    ).fit(reml=True)  # fmt: skip
    wanted = dict(zip(fit.model.exog_vc.names, fit.vcomp, strict=True))
    assert found["run"] == pytest.approx(wanted["run"], rel=0.01)
    assert found["prompt"] == pytest.approx(wanted["prompt"], rel=0.01)
    assert found["run x prompt"] == pytest.approx(fit.scale, rel=0.01)
    # and by hand, from the mean squares
    run, prompt = said.mean(1, keepdims=True), said.mean(0, keepdims=True)
    rest = ((said - run - prompt + said.mean()) ** 2).sum() / (11 * 8)
    assert found["run x prompt"] == pytest.approx(rest)
    assert found["run"] == pytest.approx((9 * run.var(ddof=1) - rest) / 9)


def test_the_jackknife_covers_the_share_of_runs() -> None:
    hits = 0
    for seed in range(200):
        draw = np.random.default_rng([seed, 1])
        said = draw.normal(0, 1, (40, 1, 1)) + draw.normal(0, 1, (40, 12, 1))
        verdicts = components.Verdicts(said, np.zeros(12, dtype=int))
        row = components.components(verdicts).set_index("factor").loc["run"]
        hits += row["share_low"] <= 0.5 <= row["share_high"]
    assert 0.9 <= hits / 200 <= 0.985


def test_components_of_little_or_nothing() -> None:
    one = components.components(components.Verdicts(np.ones((1, 4, 2)), np.zeros(4, dtype=int)))
    assert set(one["factor"]) == {"judge", "prompt", "judge x prompt"}
    assert one["share"].isna().all() and one["variance"].to_numpy() == pytest.approx(0)


# ---- correction


def test_ppi_by_hand() -> None:
    found = prevalence.ppi(np.array([[30.0, 20, 5, 45]]), np.array([600.0]), np.array([1000.0]))
    assert found.value[0] == pytest.approx(0.6 + (5 - 20) / 100)
    error = np.repeat([0, -1, 1, 0], [61, 41, 11, 91]).astype(float)
    spread = error.var() / 102 + 0.6 * 0.4 / 1000  # half a reply more a cell, all counted twice
    half = 1.959964 * np.sqrt(spread)
    assert [found.low[0], found.high[0]] == pytest.approx(
        [0.6 + error.mean() - half, 0.6 + error.mean() + half]
    )


def test_rogan_gladen_by_hand_and_where_it_is_not_defined() -> None:
    cells = np.array([[45.0, 10, 5, 40], [0, 10, 0, 90], [10, 40, 40, 10]])
    found = prevalence.rogan_gladen(cells, np.full(3, 500.0), np.full(3, 1000.0))
    assert found.value[0] == pytest.approx((0.5 + 0.8 - 1) / (0.9 + 0.8 - 1))
    assert found.low[0] < found.value[0] < found.high[0]
    assert np.isnan(found.value[1:]).all() and np.isnan(found.low[1:]).all()


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.7])
def test_ppi_is_unbiased_and_covers_where_the_naive_rate_does_not(rate: float) -> None:
    draw, draws = np.random.default_rng(11), 2000
    sensitivity, specificity = 0.8, 0.75
    chances = np.array([
        rate * sensitivity, (1 - rate) * (1 - specificity), rate * (1 - sensitivity),
        (1 - rate) * specificity,
    ])  # fmt: skip
    sample = draw.multinomial(150, chances, draws).astype(float)
    yes = draw.binomial(5000, chances[:2].sum(), draws).astype(float)
    rest = np.full(draws, 5000.0)
    for method in (prevalence.ppi, prevalence.rogan_gladen):
        found = method(sample, yes, rest)
        covered = float(((found.low <= rate) & (rate <= found.high)).mean())
        assert 0.93 <= covered <= 0.985, method
    error = prevalence.ppi(sample, yes, rest).value - rate
    assert abs(error.mean()) < 3.5 * error.std() / np.sqrt(draws)
    naive = yes / rest
    assert abs(naive - rate).min() > 0.02


def test_repeated_draws_repair_a_biased_judge() -> None:
    pool = np.array([400, 3000, 100, 6500])
    found = prevalence.repeated(pool, 100, 1000, np.array([90, 5, 5, 900])).set_index("method")
    assert found["truth"].tolist() == [0.05] * 5
    assert found.loc["naive", "bias"] == pytest.approx(0.29) and found.loc["naive", "coverage"] == 0
    assert abs(found.loc["PPI", "bias"]) < 0.006 and found.loc["PPI", "coverage"] >= 0.92
    assert found.loc["labels alone", "coverage"] >= 0.92
    # carried over from where the judge's specificity is .99: it takes nearly all for true
    assert found.loc["Rogan-Gladen, carried over", "bias"] > 0.2
    assert found.loc["Rogan-Gladen, carried over", "coverage"] < 0.05
    assert 0 <= found.loc["Rogan-Gladen", "undefined"] < 0.05


def test_too_many_labels_are_refused(study: Study, counts: pd.DataFrame) -> None:
    for labelled in (1, 10**6):
        with pytest.raises(GroundedError, match=f"labelled: found {labelled}, wanted from 2"):
            trust.correction(study, counts, labelled, 10)


def test_a_small_study_labels_half_of_its_smallest_pool(study: Study, counts: pd.DataFrame) -> None:
    assert trust.affordable(study, counts, 2) == 2
    most = trust.affordable(study, counts, 10**6)
    found = trust.correction(study, counts, most, 10)
    assert most == found["n"].min() // 2


# ---- reading, and the notebook


def test_a_study_without_truth_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    small = synthetic.study(models=["micro-llama-s"], tasks=["yes_no"], seeds=[0])
    synthetic.write(small)
    file = paths.table(small.name, "replies", "micro-llama-s-yes_no")
    frame, about = records.read(file, "replies"), records.metadata(file)
    frame = frame.assign(truth=None, truth_harm=None, truth_fulfilled=None)
    records.write(file, "replies", frame, {"runs": about["runs"]})
    with pytest.raises(GroundedError, match="truth: found replies without it"):
        joint.joint(small, "micro-llama-s-yes_no")


def test_joint_counts_are_those_of_each_judge_alone(study: Study, counts: pd.DataFrame) -> None:
    alone = frames.verdicts(study, ["harm"], HARMFUL)
    keys = ["run", "step", "benchmark"]
    together = joint.of_judge(counts, "harm", keys).set_index(keys).sort_index()
    wanted = alone.set_index(keys)[["n", "k", "missing"]].sort_index()
    assert (together == wanted).all(axis=None) and wanted["missing"].sum() > 0


@pytest.fixture(scope="module")
def shown(study: Study) -> list[Any]:
    return run_notebook(NAME)


def test_the_notebook_keeps_its_figures_and_says_what_was_planted(
    study: Study, shown: list[Any]
) -> None:
    folder = paths.figures(study.name)
    for name in (NAME, f"{NAME}_agreement"):
        about = json.loads((folder / f"{name}.json").read_text())
        assert set(about["inputs"]) == {"code", "tables"}
        assert len(pd.read_csv(folder / f"{name}.csv")) > 20
        assert (folder / f"{name}.png").stat().st_size > 50_000 and (
            folder / f"{name}.svg"
        ).exists()
    text = texts(shown)
    assert not re.search(r"\bnan\b|None|not defined|\binf\b", text)
    # planted: first versions say yes to .35 of what is incoherent, second ones to .1
    assert text.count("AC1 with the truth rises") == 2 == text.count("and specificity rises")
    assert "stray" in text and "`keywords_micro` on yes/no" in text
    assert "PPI is off by at most" in text


def test_a_single_run_and_a_single_judge_are_drawn(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    small = synthetic.study(
        models=["micro-llama-s"], tasks=["yes_no"], lora=["r4-low"], seeds=[0],
        benchmarks={"questions": 120}, judges=["keywords_micro"],
    )  # fmt: skip
    synthetic.write(small)
    text = texts(run_notebook(NAME))
    assert "no second version" in text and "none of 1 judge" not in text
    assert not re.search(r"\bnan\b|None|\binf\b", text)


def test_judges_that_never_say_yes_are_read_as_such(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    small = with_versions()
    synthetic.write(small, {}, start=0)
    for unit in small.units():
        file = paths.table(small.name, "verdicts", unit)
        frame, about = records.read(file, "verdicts"), records.metadata(file)
        records.write(file, "verdicts", frame.assign(label=False), {"runs": about["runs"]})
    text = texts(run_notebook(NAME))
    assert not re.search(r"\bnan\b|None|\binf\b", text)
    assert "verdicts never vary" in text and "`harm` 0.0 [0.0, 0.0]" in text
    assert "No verdict of 5 judges is missing." in text
