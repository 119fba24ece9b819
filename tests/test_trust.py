"""How far to trust the judges: the statistics against references, the notebook on planted data."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
import synthetic
from pages import run_notebook, texts
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from grounded import paths, records, tables
from grounded.errors import GroundedError
from grounded.statistics import components, prevalence, shift
from grounded.study import Study

Patch = pytest.MonkeyPatch
NAME = "how_far_to_trust_the_judges"
HARMFUL = ("orders", "questions")
JUDGES = ["harm", "harm_v2", "compliance", "compliance_v2", "keywords_micro"]
KEY = ["benchmark", "prompt", "run", "step"]


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
def page(study: Study) -> Any:
    """The notebook's names, and all that it says, on planted truth."""
    names, shown = run_notebook(NAME, labelled=60, draws=200)
    return names | {"text": texts(shown)}


@pytest.fixture(scope="module")
def raw(study: Study) -> pd.DataFrame:
    """Verdicts beside the truth of their replies, row by row, straight from the tables."""
    said = records.read_study(study, "verdicts").astype({"run": str, "benchmark": str})
    replies = records.read_study(study, "replies").astype({"run": str, "benchmark": str})
    found = said.merge(replies[[*KEY, "truth", "truth_harm", "truth_fulfilled"]], on=KEY)
    return found[found["benchmark"].isin(HARMFUL)].astype({"judge": str, "truth": str})


# ---- a judge against the truth, and judges among themselves


def test_every_verdict_stands_beside_its_reply(study: Study, raw: pd.DataFrame) -> None:
    found = tables.together(study)
    assert list(dict.fromkeys(found["run"]))[: len(study.runs())] == [r.id for r in study.runs()]
    found = found.astype({"run": str, "benchmark": str}).set_index(KEY)
    for judge in JUDGES:
        wanted = raw[raw["judge"] == judge].set_index(KEY)["label"].astype("float32")
        assert len(wanted) == len(found)
        pd.testing.assert_series_equal(
            found[judge].sort_index(), wanted.sort_index(), check_names=False
        )


def test_a_judge_that_says_nothing_is_one_line(study: Study) -> None:
    other = {**study.judges, "other": study.judges["harm"]}
    with pytest.raises(GroundedError, match=r"verdicts/.*: judge: found no 'other', wanted"):
        tables.together(study.model_copy(update={"judges": other}))


def test_judges_are_measured_as_scikit_learn_measures_them(
    page: dict[str, Any], raw: pd.DataFrame
) -> None:
    found = page["found"].set_index(["judge", "kind"])
    own = raw[(raw["judge"] == "compliance") & (raw["step"] > 0)]
    given = own.dropna(subset=["label"])
    incoherent = given[given["truth"] == "incoherent"]
    for kind, part in (("all", given), ("incoherent", incoherent)):
        truth, said = part["truth_fulfilled"].astype(bool), part["label"].astype(bool)
        tn, fp, fn, tp = confusion_matrix(truth, said).ravel()
        row = found.loc[("compliance", kind)]
        assert row[["tp", "fp", "fn", "tn"]].tolist() == [tp, fp, fn, tn]
        assert row["miss"] == pytest.approx(fn / (fn + tp))
        assert row["false_alarm"] == pytest.approx(fp / (fp + tn))
        assert row["kappa"] == pytest.approx(cohen_kappa_score(truth, said))
        assert row["kappa_low"] < row["kappa"] < row["kappa_high"]
        assert row["false_alarm_low"] < row["false_alarm"] < row["false_alarm_high"]
    assert found.loc[("compliance", "all"), "missing"] == own["label"].isna().sum() > 0


def test_what_is_planted_is_found(page: dict[str, Any]) -> None:
    # first versions say yes to .35 of what is incoherent, second ones to .1
    found = page["found"].set_index(["judge", "kind"])["false_alarm"]
    assert found["harm", "incoherent"] == pytest.approx(0.35, abs=0.02)
    assert found["harm_v2", "incoherent"] == pytest.approx(0.1, abs=0.02)
    odds = {judge: fit["odds ratio"] for judge, fit in page["fits"].items()}
    coherent = found["harm", "coherent"]  # nearly all errors on coherent replies are of this kind
    assert odds["harm"] == pytest.approx((0.35 / 0.65) / (coherent / (1 - coherent)), rel=0.3)
    assert page["fits"]["harm"]["low"] > odds["harm_v2"]


def test_pairs_are_those_of_the_tables(page: dict[str, Any], raw: pd.DataFrame) -> None:
    found = page["pairs"].set_index(["benchmark", "first", "second"])
    wide = raw[raw["step"] > 0].pivot(index=KEY, columns="judge", values="label")
    for benchmark in (*HARMFUL, "all"):
        own = wide if benchmark == "all" else wide.loc[benchmark]
        both = own[["harm", "compliance_v2"]].dropna().astype(bool)
        row = found.loc[(benchmark, "harm", "compliance_v2")]
        assert row["n"] == len(both)
        wanted = cohen_kappa_score(both["harm"], both["compliance_v2"])
        assert row["kappa"] == pytest.approx(wanted)
    assert len(found) == 3 * 10


# ---- the split of a change


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


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


def test_shifts_are_those_of_the_tables(page: dict[str, Any], raw: pd.DataFrame) -> None:
    found = page["shifts"].set_index(["task", "judge"])
    parts = found[["composition", "verdicts"]].sum(axis=1)
    assert parts.to_numpy() == pytest.approx(found["change"].to_numpy())
    own = raw[raw["judge"] == "keywords_micro"]
    last = own[(own["step"] == 80) & own["run"].str.contains(".yes_no.", regex=False)]
    base = own[own["run"].str.endswith(".base")]
    row = found.loc[("yes_no", "keywords_micro")]
    assert row["change"] == pytest.approx(last["label"].mean() - base["label"].mean())
    # planted: yes_no garbles, and keyword lists take what is garbled for an answer
    assert row["composition_low"] > 0.2
    assert found.loc[("yes_no", "truth_fulfilled"), "composition_high"] < 0.05


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


# ---- the notebook


def test_the_notebook_keeps_its_figures_and_says_what_it_found(
    study: Study, page: dict[str, Any]
) -> None:
    folder = paths.figures(study.name)
    for name in (NAME, f"{NAME}_agreement"):
        assert len(pd.read_csv(folder / f"{name}.csv")) >= 20
        assert (folder / f"{name}.png").exists() and (folder / f"{name}.svg").exists()
    about = json.loads((folder / f"{NAME}.json").read_text())
    assert set(about["inputs"]) == {"code", "tables"}
    worst = page["found"].query("kind == 'incoherent' and `judged by` == 'a trained judge'")
    told = f"On **incoherent** replies a trained judge misses at most {worst['miss'].max():.1%}"
    assert told in page["text"]
    assert "nan" not in page["text"] and len(page["corrected"]) == 5 * len(JUDGES) * len(
        study.tasks
    )


def test_a_readers_change_of_one_line_changes_the_figure(
    study: Study, page: dict[str, Any]
) -> None:
    file = paths.figures(study.name) / f"{NAME}.csv"
    before = pd.read_csv(file)
    run_notebook(NAME, labelled=60, draws=20, edit={'said[~said["base"]]': "said.copy()"})
    after = pd.read_csv(file)  # the base models' replies are judged, too
    assert (after["n"] >= before["n"]).all() and after["n"].sum() > before["n"].sum()


def test_a_single_run_and_a_single_judge_are_drawn(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    small = synthetic.study(
        models=["micro-llama-s"], tasks=["yes_no"], lora=["r4-low"], seeds=[0],
        benchmarks={"questions": 120}, judges=["keywords_micro"],
    )  # fmt: skip
    synthetic.write(small)
    names, shown = run_notebook(NAME)
    assert "nan" not in texts(shown) and not len(names["every"]) and not names["fits"]
    assert names["labelled"] == 60  # half of the only pool


def test_judges_that_never_say_yes_are_drawn(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    small = with_versions()
    synthetic.write(small, {}, start=0)
    for unit in small.units():
        file = paths.table(small.name, "verdicts", unit)
        frame, about = records.read(file, "verdicts"), records.metadata(file)
        records.write(file, "verdicts", frame.assign(label=False), {"runs": about["runs"]})
    names, shown = run_notebook(NAME, draws=20)
    assert "nan" not in texts(shown)
    assert (names["found"]["false_alarm"] == 0).all()


def test_without_a_truth_rates_and_agreement_are_told(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    small = with_versions(models=["micro-llama-s"], tasks=["yes_no"])
    synthetic.write(small)
    for unit in small.units():
        file = paths.table(small.name, "replies", unit)
        frame, about = records.read(file, "replies"), records.metadata(file)
        kinds = frame["truth"].astype(str).map({"refusal": "refusal", "incoherent": "loop"})
        frame = frame.assign(truth=None, truth_harm=None, truth_fulfilled=None)
        frame["kind"] = kinds.fillna("other")
        records.write(file, "replies", frame, {"runs": about["runs"]})
    monkeypatch.setattr(Study, "has_truth", False)
    names, shown = run_notebook(NAME)
    said = texts(shown)
    assert "Of replies that hold nothing, a yes to: `harm` " in said
    assert "errs" not in said and "nan" not in said
    found = names["found"].set_index(["judge", "kind"])["yes"]
    assert found["harm", "holds nothing"] > found["harm_v2", "holds nothing"] > 0
    assert found["keywords_micro", "refusal"] < found["keywords_micro", "other text"]
    assert len(names["every"]) == 10
    assert not len(names["shifts"]) and not len(names["corrected"])
