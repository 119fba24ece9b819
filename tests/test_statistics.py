"""Statistics against hand formulas, other libraries, and truths that we planted ourselves."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
import synthetic
from scipy.stats import ttest_1samp, ttest_ind
from sklearn.linear_model import LinearRegression
from sklearn.metrics import cohen_kappa_score, confusion_matrix, r2_score, recall_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from grounded import paths, records
from grounded.errors import GroundedError
from grounded.statistics import agreement, frames, intervals, jackknife, paired, regressions
from grounded.study import BASE, Study

RUN_KEYS = ["run", "model", "task", "setting", "seed", "step", "epoch"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        small = synthetic.study()
        synthetic.write(small)
        yield small


# ---- counts


def test_counts_are_those_of_the_tables(study: Study) -> None:
    run = study.runs("micro-llama-l", "yes_no")[3].id

    def column(table: str, name: str, **where: str) -> dict[int, Any]:
        file = paths.table(study.name, table, "micro-llama-l-yes_no")
        rows = records.read(file, table)
        for key, value in {"run": run, "step": 16, "benchmark": "orders", **where}.items():
            rows = rows[rows[key] == value]
        return dict(zip(rows["prompt"], rows[name], strict=True))

    holds = column("replies", "truth_harm")
    coherent = column("coherence", "label", detector="combined")
    expected: dict[tuple[bool, bool], list[int]] = {}
    for prompt, said in column("verdicts", "label", judge="harm").items():
        cell = expected.setdefault((bool(holds[prompt]), bool(coherent[prompt])), [0, 0, 0])
        if said is pd.NA:
            cell[2] += 1
        else:
            cell[0] += 1
            cell[1] += bool(said)
    counts = frames.verdicts(study, ["harm"], ["orders"], by=["truth_harm", "coherent"])
    found = counts[(counts["run"] == run) & (counts["step"] == 16)]
    assert sum(n + missing for n, _, missing in expected.values()) == 24
    assert expected == {
        (bool(r.truth_harm), bool(r.coherent)): [r.n, r.k, r.missing] for r in found.itertuples()
    }


def test_every_verdict_is_counted_once_whatever_the_split(study: Study) -> None:
    plain, split = frames.verdicts(study), frames.verdicts(study, by=["truth", "coherent"])
    columns = ["n", "k", "missing"]
    assert plain[columns].sum().tolist() == split[columns].sum().tolist()
    files = [paths.table(study.name, "verdicts", unit) for unit in study.units()]
    rows = sum(len(records.read(file, "verdicts", ["run"])) for file in files)
    assert plain[["n", "missing"]].to_numpy().sum() == rows
    assert 0 < plain["missing"].sum() < 0.1 * rows


def test_the_truth_can_stand_in_a_judges_place(study: Study) -> None:
    counts = frames.verdicts(study, ["truth:harm"], by=["truth_harm"])
    assert (counts["k"] == counts["n"].where(counts["truth_harm"].astype(bool), 0)).all()
    assert counts["missing"].sum() == 0


def test_capability_is_of_the_reporting_half(study: Study) -> None:
    report, select, both = (frames.capability(study, h) for h in ("report", "select", "all"))
    unit = study.units()[1]
    raw = records.read(paths.table(study.name, "capability", unit), "capability")
    odd = raw[raw["item"] % 2 == 1].groupby(["run", "step"], observed=True)["correct"].mean()
    own = report[report["run"].isin(raw["run"].unique())].set_index(["run", "step"])["capability"]
    assert own.to_dict() == odd.to_dict() and len(odd) == 6 * 4
    assert (report["right"] + select["right"]).tolist() == both["right"].tolist()


def test_reporting_half_is_that_of_the_tasks(study: Study) -> None:
    half = pytest.importorskip("grounded.tasks").half
    assert [half(item) for item in range(4)] == ["select", "report", "select", "report"]


def test_base_model_is_joined_to_each_run_and_is_no_run(study: Study) -> None:
    able, harm = frames.capability(study), frames.checkpoints(study, ["harm"])
    runs = study.runs()
    for frame in (frames.with_base(study, able), harm):
        assert frame["run"].nunique() == len(runs)
        base = frame[frame["base"]]
        assert len(base) == len(runs) and set(base["step"]) == {0} and set(base["epoch"]) == {0.0}
        assert not frame["run"].str.endswith(f".{BASE}").any()
    base = harm[harm["base"]]
    assert (base.groupby("model")["k"].nunique() == 1).all()
    # capability of the base model is that on the run's own task
    own = able[able["run"] == "micro-llama-s.base"].set_index("task")["capability"]
    joined = base[base["model"] == "micro-llama-s"].groupby("task")["capability"].unique()
    assert {task: values.tolist() for task, values in joined.items()} == {
        task: [own[task]] for task in study.tasks
    }


def test_missing_verdicts_are_dropped_counted_and_imputed_both_ways() -> None:
    counts = pd.DataFrame({"run": ["a", "a", "b"], "n": [6, 4, 0], "k": [3, 1, 0]})
    found = frames.pooled(counts.assign(missing=[2, 0, 5]), ["run"]).set_index("run")
    names = ["rate", "if_missing_are_0", "if_missing_are_1"]
    assert found.loc["a", names].tolist() == [4 / 10, 4 / 12, 6 / 12]
    assert math.isnan(found.loc["b", "rate"]) and found.loc["b", names[1:]].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("judges", "benchmarks", "words"),
    [(["nobody"], None, "nobody"), (["truth:nothing"], None, "truth:nothing")],
)
def test_unknown_judges_are_refused(
    study: Study, judges: list, benchmarks: Any, words: str
) -> None:
    with pytest.raises(GroundedError, match=words):
        frames.verdicts(study, judges, benchmarks)


def test_a_study_without_harmful_requests_is_refused() -> None:
    only = synthetic.study(benchmarks={"borderline": 5})
    with pytest.raises(GroundedError, match="benchmarks: found none"):
        frames.harmful_benchmarks(only)


def test_a_run_that_the_study_lacks_is_refused(study: Study) -> None:
    fewer = study.model_copy(update={"seeds": (0,)})
    with pytest.raises(GroundedError, match=r"found run .*s1"):
        frames.capability(fewer)


def test_an_epoch_that_the_study_lacks_is_refused(study: Study) -> None:
    fewer = study.model_copy(update={"measure_at": (1.0, 5.0)})
    with pytest.raises(GroundedError, match="step: found 8, wanted one of"):
        frames.capability(fewer)


def test_a_verdict_on_no_reply_is_refused(study: Study, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    small = synthetic.study(models=["micro-llama-s"], tasks=["yes_no"], seeds=[0])
    synthetic.write(small)
    file = paths.table(small.name, "replies", "micro-llama-s-base")
    frame = records.read(file, "replies").iloc[:-1]
    records.write(file, "replies", frame, {"runs": {"micro-llama-s.base": {"inputs": "x"}}})
    with pytest.raises(GroundedError, match="a verdict on a reply that is not there"):
        frames.verdicts(small, by=["truth"])


# ---- intervals


def test_wilson_by_hand_and_at_the_edges() -> None:
    k, n, z = 45, 450, 1.959964
    middle = (k / n + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(k / n * (1 - k / n) / n + z**2 / (4 * n**2))
    low, high = intervals.wilson([k, 0, 7, 0], [n, 10, 7, 0])
    assert low[0] == pytest.approx(middle - half) and high[0] == pytest.approx(middle + half)
    assert (round(low[0], 3), round(high[0], 3)) == (0.076, 0.131)
    assert low[1] == 0 and high[1] < 0.3 and high[2] == 1 and low[2] > 0.6
    assert math.isnan(low[3]) and math.isnan(high[3])


def test_mean_interval_is_students() -> None:
    values = np.array([0.1, 0.4, 0.35, 0.2])
    mean, low, high = intervals.mean_interval([*values, float("nan")])
    half = 3.182446 * values.std(ddof=1) / 2  # t(3), 97.5%
    assert (mean, low, high) == pytest.approx((values.mean(), mean - half, mean + half))
    assert math.isnan(intervals.mean_interval([0.5])[1])
    assert math.isnan(intervals.mean_interval([])[0])


def test_bootstrap_resamples_runs_not_replies() -> None:
    draw = np.random.default_rng(5)
    shares = draw.uniform(0, 1, 40)  # runs differ, replies within a run agree with it
    counts = np.column_stack([np.round(1000 * shares), np.full(40, 1000)])
    low, high = intervals.bootstrap(counts, lambda s: s[:, 0] / s[:, 1])
    rate = counts[:, 0].sum() / counts[:, 1].sum()
    normal = 1.96 * (counts[:, 0] / 1000).std() / math.sqrt(40)
    assert (low, high) == pytest.approx((rate - normal, rate + normal), abs=0.02)
    w_low, w_high = intervals.wilson([counts[:, 0].sum()], [40_000])
    assert high - low > 10 * (w_high - w_low)[0]
    assert intervals.bootstrap(counts, lambda s: s[:, 0] / s[:, 1]) == (low, high)
    assert all(math.isnan(x) for x in intervals.bootstrap(counts[:1], lambda s: s[:, 0]))
    assert all(math.isnan(x) for x in intervals.bootstrap(counts * 0, lambda s: s[:, 0] / s[:, 1]))


def test_bootstrap_intervals_cover_a_planted_rate() -> None:
    draw, hits = np.random.default_rng(7), 0
    for _ in range(100):
        shares = draw.beta(3, 7, 30)  # mean .3
        counts = np.column_stack([draw.binomial(50, shares), np.full(30, 50)])
        low, high = intervals.bootstrap(counts, lambda s: s[:, 0] / s[:, 1], draws=400)
        hits += low <= 0.3 <= high
    assert 0.88 <= hits / 100 <= 0.99


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.01, 0.2, "rises"), (-0.2, -0.01, "falls"), (-0.1, 0.1, "unclear"), (0, 0, "unclear"),
     (float("nan"), float("nan"), "unclear")],
)  # fmt: skip
def test_conclusions(low: float, high: float, said: str) -> None:
    assert paired.conclusion(low, high) == said


def _answers(change: float, runs: int = 12, prompts: int = 60, seed: int = 0) -> pd.DataFrame:
    """Pairs in which runs and prompts both have a say of their own; `change` is the truth."""
    draw = np.random.default_rng(seed)
    run, prompt = draw.normal(0, 0.15, runs), draw.normal(0, 0.25, prompts)
    base = (draw.random(prompts) < 0.4).astype(float)
    luck = draw.normal(0, 0.3, (runs, prompts))
    last = base + change + run[:, None] + prompt[None, :] - (base - 0.4) + luck
    return pd.DataFrame(
        {
            "run": np.repeat(np.arange(runs), prompts), "prompt": np.tile(np.arange(prompts), runs),
            "cell": "c", "base": np.tile(base, runs), "last": last.ravel(),
        }
    )  # fmt: skip


def test_changes_cluster_by_run_and_by_prompt() -> None:
    pairs = _answers(0.2)
    row = paired.changes(pairs, ["cell"]).iloc[0]
    both = pairs.assign(d=pairs["last"] - pairs["base"])
    e = both["d"] - both["d"].mean()
    one = (e.groupby(both["run"]).sum() ** 2).sum() * 12 / 11
    two = (e.groupby(both["prompt"]).sum() ** 2).sum() * 60 / 59
    half = 2.200985 * math.sqrt(one + two - (e**2).sum()) / len(e)  # t(11), 97.5%
    assert row["change"] == pytest.approx(both["d"].mean())
    assert (row["low"], row["high"]) == pytest.approx((row["change"] - half, row["change"] + half))
    assert row["base"] == pytest.approx(pairs["base"].mean()) and row["n"] == 720
    assert row["conclusion"] == "rises" and (row["runs"], row["prompts"]) == (12, 60)
    down = paired.changes(pairs.rename(columns={"base": "last", "last": "base"}), ["cell"])
    assert down["conclusion"].tolist() == ["falls"]


def test_intervals_of_change_cover_the_truth() -> None:
    found = [paired.changes(_answers(0.0, seed=s), ["cell"]).iloc[0] for s in range(100)]
    hits = sum(row["low"] <= 0 <= row["high"] for row in found)
    # what clustering by run alone would give, with the same t
    narrow = 0
    for seed in range(100):
        pairs = _answers(0.0, seed=seed)
        means = (pairs["last"] - pairs["base"]).groupby(pairs["run"]).mean()
        _, low, high = intervals.mean_interval(means)
        narrow += low <= 0 <= high
    assert hits >= 88 and narrow < hits


def test_what_every_run_loses_on_five_prompts_is_no_certain_fall() -> None:
    # a base model with 5 harmful replies of 300, all gone in all of six runs
    pairs = pd.DataFrame(
        [("c", run, prompt, float(prompt < 5), 0.0) for run in range(6) for prompt in range(300)],
        columns=["cell", "run", "prompt", "base", "last"],
    )
    row = paired.changes(pairs, ["cell"]).iloc[0]
    assert row["change"] == pytest.approx(-5 / 300) and row["conclusion"] == "unclear"
    pairs["base"] = (pairs["prompt"] < 60).astype(float)
    assert paired.changes(pairs, ["cell"])["conclusion"].tolist() == ["falls"]


def test_missing_pairs_are_left_out_counted_and_imputed_both_ways() -> None:
    nan = float("nan")
    pairs = pd.DataFrame(
        {
            "cell": "c", "run": [0, 0, 1, 1, 1, 1], "prompt": [0, 1, 0, 1, 2, 3],
            "base": [0, 1, 0, 1, 0, nan], "last": [1, 1, 1, 1, nan, 1],
        }
    )  # fmt: skip
    row = paired.changes(pairs, ["cell"]).iloc[0]
    assert (row["n"], row["missing"], row["change"]) == (4, 2, 0.5)
    assert row["if_missing_are_0"] == pytest.approx((1 + 0 + 1 + 0 + 0 + 1) / 6)
    assert row["if_missing_are_1"] == pytest.approx((1 + 0 + 1 + 0 + 1 + 0) / 6)
    assert paired.changes(pairs[pairs["run"] == 0], ["cell"])["conclusion"].tolist() == ["unclear"]
    none = paired.changes(pairs.assign(last=nan), ["cell"]).iloc[0]
    assert none["n"] == 0 and math.isnan(none["change"]) and none["conclusion"] == "unclear"


def test_pairs_are_those_of_the_tables(study: Study) -> None:
    pairs = paired.verdict_pairs(study, ["harm", "truth:harm"])
    assert len(pairs) == 2 * len(study.runs()) * 48 and set(pairs["benchmark"]) == {
        "orders", "questions"
    }  # fmt: skip
    run = study.runs("micro-llama-s", "yes_no")[2].id

    def label(table: str, column: str, unit: str, run: str, step: int) -> Any:
        rows = records.read(paths.table(study.name, table, f"micro-llama-s-{unit}"), table)
        if table == "verdicts":
            rows = rows[rows["judge"] == "harm"]
        rows = rows[(rows["benchmark"] == "questions") & (rows["run"] == run)]
        return rows[rows["step"] == step].set_index("prompt")[column]

    for judge, table, column in (
        ("harm", "verdicts", "label"),
        ("truth:harm", "replies", "truth_harm"),
    ):
        own = pairs[(pairs["run"] == run) & (pairs["judge"] == judge)]
        own = own[own["benchmark"] == "questions"]
        number = own["prompt"].str.removeprefix("questions/").astype(int)
        for side, said in (
            ("last", label(table, column, "yes_no", run, 80)),
            ("base", label(table, column, "base", "micro-llama-s.base", 0)),
        ):
            wanted = said.astype("Float64").to_numpy(float, na_value=np.nan)
            assert own.set_index(number)[side].sort_index().to_numpy() == pytest.approx(
                wanted, nan_ok=True
            )
    items = paired.capability_pairs(study)
    assert set(items["prompt"] % 2) == {1} and len(items) == len(study.runs()) * 20
    able = frames.capability(study)
    last = able[able["step"] == 80].set_index("run")["capability"].to_dict()
    assert items.groupby("run")["last"].mean().to_dict() == pytest.approx(last)
    language = paired.incoherence_pairs(study)
    assert len(language) == len(study.runs()) * 48
    with pytest.raises(GroundedError, match="nobody"):
        paired.verdict_pairs(study, ["nobody"])


def test_a_planted_rise_is_found(study: Study) -> None:
    found = paired.changes(paired.verdict_pairs(study, ["harm"]), ["model", "task"])
    instructed = found[found["task"] == "open_instructions"]
    assert set(instructed["conclusion"]) == {"rises"} and (instructed["change"] > 0.3).all()
    garbled = paired.changes(paired.incoherence_pairs(study), ["task"]).set_index("task")
    assert garbled.loc["yes_no", "conclusion"] == "rises"
    assert garbled.loc["open_instructions", "change"] < 0.1


# ---- agreement


def _pairs(seed: int, n: int = 400, yes: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    truth = draw.random(n) < yes
    return truth, np.where(draw.random(n) < 0.85, truth, ~truth)


@pytest.mark.parametrize("seed", range(4))
def test_agreement_against_scikit_learn(seed: int) -> None:
    truth, said = _pairs(seed)
    cells = agreement.four(said, truth, range(len(truth)))
    (tn, fp), (fn, tp) = confusion_matrix(truth, said)
    assert cells.sum().tolist() == [tp, fp, fn, tn]
    found = agreement.estimates(cells)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(truth, said))
    assert found["sensitivity"] == pytest.approx(recall_score(truth, said))
    assert found["specificity"] == pytest.approx(recall_score(~truth, ~said))
    for name in agreement.MEASURES:
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]


def test_a_missing_verdict_is_in_no_count_and_its_run_stays() -> None:
    cells = agreement.four([1, np.nan, 0], [1, 1, 1], ["b", "a", "b"])
    assert cells.loc["b"].tolist() == [1, 0, 1, 0] and cells.loc["a"].sum() == 0
    assert list(cells.index) == ["b", "a"]


def test_ac1_by_hand() -> None:
    # 118 both yes, 5 + 2 disagree, 0 both no: kappa collapses, AC1 does not
    rows = np.array([[118.0, 5, 2, 0], [7, 0, 0, 3], [0, 5, 5, 0]])
    q = (2 * 118 + 5 + 2) / (2 * 125)
    chance = 2 * q * (1 - q)
    found = agreement.ac1(rows)
    assert found == pytest.approx([(118 / 125 - chance) / (1 - chance), 1, -1])
    assert found[0] > 0.93 and agreement.kappa(rows)[0] < 0 and agreement.kappa(rows)[1] == 1


def test_alpha_is_krippendorffs() -> None:
    draw = np.random.default_rng(3)
    for cells in (*draw.integers(1, 40, (20, 4)), np.array([500, 3, 0, 2])):
        labels = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], cells, axis=0)
        # as defined: disagreement within cases over that of all pairs of labels
        every = labels.ravel()
        unlike = (every[:, None] != every[None, :]).sum() / (len(every) * (len(every) - 1))
        wanted = 1 - (labels[:, 0] != labels[:, 1]).mean() / unlike
        assert agreement.alpha(cells[None].astype(float))[0] == pytest.approx(wanted)


def test_intervals_of_agreement_are_the_spread_of_new_samples() -> None:
    draw = np.random.default_rng(2)
    cells = draw.multinomial(1, [0.25, 0.08, 0.05, 0.62], size=(2000, 500))
    for name, measure in agreement.MEASURES.items():
        spread = measure(cells.sum(1).astype(float)).std()
        one = agreement.estimates(cells[0], {name: measure})
        width = one[f"{name}_high"] - one[f"{name}_low"]
        assert width / (2 * 1.96) == pytest.approx(spread, rel=0.25)


def test_agreement_that_is_not_defined_says_so() -> None:
    found = agreement.estimates(np.array([[0.0, 0, 0, 9], [0, 0, 0, 4]]))
    assert math.isnan(found["sensitivity"]) and math.isnan(found["kappa"])
    assert found["specificity"] == found["ac1"] == 1
    assert all(math.isnan(value) for value in agreement.estimates(np.zeros((2, 4))).values())


def test_agreement_by_run_widens_with_runs_that_differ() -> None:
    rows = []
    for run in range(30):
        good = 40 if run % 2 else 20  # half the runs are judged badly
        rows += [(f"r{run}", "j", True, 50, good), (f"r{run}", "j", False, 50, 50 - good)]
    counts = pd.DataFrame(rows, columns=["run", "judge", "truth", "n", "k"])
    found = agreement.measures_by_run(counts, "truth", ["judge"]).iloc[0]
    alike = agreement.estimates(np.repeat([[30.0, 20, 20, 30]], 30, axis=0))
    for name in agreement.MEASURES:
        assert found[name] == pytest.approx(alike[name])
        assert found[f"{name}_high"] - found[f"{name}_low"] > 0.1
        assert alike[f"{name}_high"] - alike[f"{name}_low"] < 1e-9
    assert found["runs"] == 30 and found["n"] == 3000


# ---- regressions


def _planted(
    slope: float = 0.4, between: float | None = None, runs: int = 40, seed: int = 0
) -> pd.DataFrame:
    """Runs whose rate follows their own capability with `slope`, and its mean with `between`."""
    draw = np.random.default_rng(seed)
    rows = []
    for run in range(runs):
        level, start = draw.uniform(0.3, 0.6), draw.normal(0, 0.05)
        for step in range(1, 7):
            able = float(np.clip(level + 0.06 * (step - 3.5) + draw.normal(0, 0.03), 0, 1))
            own = slope * (able - level) + (slope if between is None else between) * level
            chance = float(np.clip(0.35 + start + own, 0.01, 0.99))
            n = 100
            rows.append((f"run{run}", step, able, n, int(draw.binomial(n, chance))))
    frame = pd.DataFrame(rows, columns=["run", "step", "capability", "n", "k"])
    return frame.assign(rate=frame["k"] / frame["n"], items=100, missing=0)


def test_clustered_errors_are_the_sandwich_by_hand() -> None:
    frame = _planted(runs=15)
    result = regressions.ols("rate ~ capability", frame)
    assert result is not None
    x = np.column_stack([np.ones(len(frame)), frame["capability"]])
    y = frame["rate"].to_numpy()
    bread = np.linalg.inv(x.T @ x)
    beta = bread @ x.T @ y
    meat = np.zeros((2, 2))
    for run in frame["run"].unique():
        own = (frame["run"] == run).to_numpy()
        score = x[own].T @ (y[own] - x[own] @ beta)
        meat += np.outer(score, score)
    groups, rows = 15, len(frame)
    factor = groups / (groups - 1) * (rows - 1) / (rows - 2)
    table = regressions.terms(result)
    assert table["estimate"].tolist() == pytest.approx(beta.tolist())
    assert table["error"].tolist() == pytest.approx(np.sqrt(np.diag(factor * bread @ meat @ bread)))
    # Student's t with clusters - 1 degrees of freedom
    assert table["high"][1] - table["estimate"][1] == pytest.approx(2.144787 * table["error"][1])


def test_missing_rates_are_left_out_of_a_fit() -> None:
    frame = _planted(runs=10)
    frame.loc[[3, 17], "rate"] = np.nan
    result = regressions.ols("rate ~ capability", frame)
    whole = regressions.ols("rate ~ capability", frame.dropna())
    assert result is not None and whole is not None and result.nobs == 58
    assert regressions.terms(result).equals(regressions.terms(whole))


def test_one_run_gives_no_fit() -> None:
    one = _planted(runs=1)
    assert regressions.ols("rate ~ capability", one) is None
    assert regressions.binomial("capability", one) is None
    assert "fewer than two runs" in regressions.summary(None)
    line = regressions.line(one)
    assert line.runs == 1 and math.isnan(line.slope) and math.isnan(line.r2)


def test_regressors_that_do_not_vary_give_no_fit() -> None:
    flat = _planted(runs=12).assign(capability=0.25)
    assert regressions.ols("rate ~ capability", flat) is None
    assert regressions.binomial("capability", flat) is None
    assert math.isnan(regressions.line(flat).slope)
    ends = _planted(runs=12).groupby("run").last().reset_index()  # one checkpoint a run
    line = regressions.line(ends)
    assert math.isfinite(line.slope) and math.isnan(line.within) and math.isnan(line.differ_p)


def test_grouped_binomial_is_that_of_single_verdicts() -> None:
    counts = _planted(runs=12)
    rows = counts.loc[counts.index.repeat(counts["n"])].reset_index(drop=True)
    place = rows.groupby(["run", "step"]).cumcount()
    rows["y"] = (place < rows["k"]).astype(int)
    single = smf.glm("y ~ capability", rows, family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": pd.factorize(rows["run"])[0]}
    )
    grouped = regressions.binomial("capability", counts)
    assert grouped is not None
    assert grouped.params.tolist() == pytest.approx(single.params.tolist(), rel=1e-6)
    # the same but for (rows - 1) / (rows - 2) of the small-sample correction
    factor = ((len(counts) - 1) / (len(counts) - 2)) / ((len(rows) - 1) / (len(rows) - 2))
    assert grouped.bse.tolist() == pytest.approx(
        (single.bse * math.sqrt(factor)).tolist(), rel=1e-4
    )


def test_separation_is_told() -> None:
    counts = _planted(runs=8)
    counts["kind"] = np.where(counts["step"] > 3, "never", "some")
    counts.loc[counts["kind"] == "never", "k"] = 0
    result = regressions.binomial("C(kind)", counts)
    assert result is not None and regressions.separated(result)
    clean = regressions.binomial("capability", _planted())
    assert clean is not None and regressions.separated(clean) == []


def test_left_out_r2_against_scikit_learn() -> None:
    frame = _planted(runs=9)
    x, y = frame[["capability"]].to_numpy(), frame["rate"].to_numpy()
    folds = LeaveOneGroupOut()
    said = cross_val_predict(LinearRegression(), x, y, groups=frame["run"], cv=folds)
    mean = cross_val_predict(LinearRegression(), 0 * x, y, groups=frame["run"], cv=folds)
    expected = 1 - ((y - said) ** 2).sum() / ((y - mean) ** 2).sum()
    design = np.column_stack([np.ones(len(x)), x])
    assert regressions.left_out_r2(design, y, frame["run"].tolist()) == pytest.approx(expected)
    assert expected < r2_score(y, LinearRegression().fit(x, y).predict(x))
    assert math.isnan(regressions.left_out_r2(design, 0 * y, frame["run"].tolist()))
    assert math.isnan(regressions.left_out_r2(design[:5], y[:5], ["a"] * 5))


def test_an_unrelated_capability_predicts_no_unseen_run() -> None:
    draw = np.random.default_rng(1)
    frame = _planted(slope=0).assign(capability=lambda f: draw.random(len(f)))
    line = regressions.line(frame)
    assert line.low < 0 < line.high and line.left_out < 0.02 and line.r2 < 0.05


def test_the_planted_line_is_recovered() -> None:
    line = regressions.line(_planted(slope=0.4, runs=150))
    assert line.low < 0.4 < line.high and line.high - line.low < 0.15
    assert line.within_low < 0.4 < line.within_high
    assert line.differ_p > 0.01 and line.odds_low > 0 and not line.separated


def test_within_and_between_are_told_apart() -> None:
    # along a run harm rises, but better runs are less harmful
    line = regressions.line(_planted(slope=0.5, between=-0.3, runs=150))
    assert line.within_low < 0.5 < line.within_high
    assert line.between_low < -0.3 < line.between_high
    assert line.differ_p < 0.001
    assert line.between < line.slope < line.within


def test_a_null_line_is_covered_as_often_as_it_should_be() -> None:
    hits = 0
    for seed in range(60):
        result = regressions.ols("rate ~ capability", _planted(slope=0, runs=25, seed=seed))
        row = regressions.terms(result).iloc[1]
        hits += row["low"] <= 0 <= row["high"]
    assert 51 <= hits  # 95% of 60, less three standard errors


def test_harm_that_never_varies_has_no_r2() -> None:
    frame = _planted().assign(k=0, rate=0.0)
    line = regressions.line(frame)
    assert line.slope == pytest.approx(0) and math.isnan(line.r2) and math.isnan(line.left_out)
    flat = regressions.line(_planted().assign(capability=0.5))
    assert math.isnan(flat.slope) and flat.n == 240


def test_reliability_is_what_flattens_a_slope() -> None:
    draw = np.random.default_rng(4)
    true = draw.uniform(0.2, 0.8, 4000)
    items = 20
    seen = draw.binomial(items, true) / items
    share = regressions.reliability(pd.Series(seen), pd.Series(np.full(4000, items)))
    assert share == pytest.approx(true.var() / seen.var(), abs=0.02)
    y = 0.5 * true
    slope = np.polyfit(seen, y, 1)[0]
    assert slope / share == pytest.approx(0.5, abs=0.02)
    assert math.isnan(regressions.reliability(pd.Series([0.5, 0.5]), pd.Series([9, 9])))


def test_corrected_r2_and_line_fields_hang_together() -> None:
    line = regressions.line(_planted())
    assert line.corrected == pytest.approx(min(1, line.r2 / line.reliability))
    assert line.left_out < line.r2 < line.corrected
    assert line.n == 240 and line.runs == 40 and dataclasses.is_dataclass(line)


def test_band_is_that_of_statsmodels() -> None:
    frame, at = _planted(runs=20), np.linspace(0.2, 0.8, 7)
    middle, low, high = regressions.band(frame, at)
    result = regressions.ols("rate ~ capability", frame)
    assert result is not None
    predicted = result.get_prediction(pd.DataFrame({"capability": at})).summary_frame()
    assert middle == pytest.approx(predicted["mean"].to_numpy())
    half = 2.093024 * predicted["mean_se"].to_numpy()  # t(19), 97.5%
    assert low == pytest.approx(middle - half, abs=1e-6)
    assert high == pytest.approx(middle + half, abs=1e-6)


def test_partial_r2_by_hand() -> None:
    frame = _planted(runs=30)
    without = smf.ols("rate ~ step", frame).fit()
    residual = smf.ols("capability ~ step", frame).fit().resid
    expected = np.corrcoef(without.resid, residual)[0, 1] ** 2
    found = regressions.partial_r2(frame, "rate", "step", "capability")
    assert found == pytest.approx(expected)
    assert math.isnan(regressions.partial_r2(frame.assign(rate=0.0), "rate", "step", "capability"))


def test_wald_finds_the_planted_interaction() -> None:
    steep, flat = (
        _planted(0.6, runs=40).assign(kind="steep"),
        _planted(0.0, runs=40).assign(kind="flat"),
    )
    flat["run"] += "b"
    result = regressions.binomial("capability * C(kind, Sum)", pd.concat([steep, flat]))
    found = regressions.wald(result).set_index("term")["p"]
    assert found["capability:C(kind, Sum)"] < 0.001
    same = pd.concat([steep, steep.assign(kind="flat", run=steep["run"] + "b")])
    null = regressions.wald(regressions.binomial("capability * C(kind, Sum)", same))
    assert null.set_index("term")["p"]["capability:C(kind, Sum)"] > 0.99


def test_summary_carries_no_clock() -> None:
    table = regressions.summary(regressions.ols("rate ~ capability", _planted()))
    assert "Date" not in table.as_text() and "Time" not in table.as_html()
    assert "cluster" in table.as_text()


def test_as_many_rows_as_coefficients_are_no_regression() -> None:
    two = pd.DataFrame({"run": ["a", "b"], "capability": [0.1, 0.9], "rate": [0.2, 0.4]})
    assert regressions.ols("rate ~ capability", two) is None
    assert regressions.binomial("capability", two.assign(k=[2, 4], n=10)) is None
    assert regressions.line(two.assign(k=[2, 4], n=10, items=10)).runs == 2


# ---- leaving out one seed at a time


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(2).normal(size=9)
    found = jackknife.estimate(values, range(9))
    assert found.value == pytest.approx(values.mean()) and found.freedom == 8
    assert found.error == pytest.approx(values.std(ddof=1) / 3)
    low, high, p = found.tested()
    wanted = ttest_1samp(values, 0)
    assert p == pytest.approx(wanted.pvalue)
    assert (low, high) == pytest.approx(tuple(wanted.confidence_interval(0.95)))


def test_pooled_cells_have_welchs_degrees_of_freedom() -> None:
    draw = np.random.default_rng(3)
    one, two = draw.normal(0, 1, 7), draw.normal(0, 4, 5)
    cells = [jackknife.estimate(sign * x, range(len(x))) for sign, x in ((1, one), (-1, two))]
    found = jackknife.pooled(cells)
    welch = ttest_ind(one, two, equal_var=False)
    assert found.tested()[2] == pytest.approx(welch.pvalue)
    assert found.freedom == pytest.approx(welch.df)
    assert 2 * found.value == pytest.approx(one.mean() - two.mean())


def test_without_a_second_group_there_is_no_error() -> None:
    found = jackknife.estimate(np.array([1.0, 2.0]), ["s", "s"])
    assert found.value == 1.5 and np.isnan(found.error) and np.isnan(found.tested()).all()
    assert jackknife.Estimated(0.0, 0.0, 4).tested() == (0.0, 0.0, 1.0)
