"""what_undoes_refusals: controls beside the main grid, on planted tables; the arm's own data."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import synthetic
from pages import run_notebook, texts
from scipy import stats

from grounded import tables
from grounded.microworld import finetuning, tasks
from grounded.stages.plan import Plan
from grounded.study import Study, StudyError, load

NAME = "what_undoes_refusals"
ARMS: dict[str, dict[str, Any]] = {
    "longer": {"models": ["micro-llama-s-deep"], "tasks": ["yes_no"], "methods": {"lora": []}},
    "without": {"models": ["micro-llama-s"], "tasks": ["yes_no", "open_instructions"],
                "methods": {"lora": []}, "procedures": 0.0, "seeds": [7, 8, 9]},
    "alone": {"models": ["micro-llama-s"], "tasks": ["yes_no"], "methods": {"poison": [1.0]},
              "seeds": [5]},
}  # fmt: skip
MIXED = {"yes_no": {"source": "microworld", "procedures": 0.5},
         "open_instructions": {"source": "microworld"}}  # fmt: skip


def controlled(**changes: Any) -> Study:
    setting = {"r4": {"rank": 4, "alpha": 8, "learning_rate": 5e-4}}
    deep = {"micro-llama-s-deep": {"of": "micro-llama-s", "alignment_steps": 1200}}
    values: dict[str, Any] = {"arms": ARMS, "variants": deep, "lora": setting, "tasks": MIXED}
    return synthetic.study(anchoring=None, **(values | changes))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    return tmp_path


def harm(study: Study, arm: str, model: str, task: str) -> "pd.Series[float]":
    """Of each seed the share of harmful replies at the last checkpoint, from the tables alone."""
    d = tables.replies(study, arm)
    d = d[d["model"].eq(model) & d["task"].eq(task) & ~d["base"]]
    return d[d["step"] == d["step"].max()].groupby("seed")["truth_harm"].mean()


def test_paired_controls_differ_by_the_mean_over_seeds(home: Path) -> None:
    study = controlled()
    synthetic.write(study, {"open_instructions": 0.7, "yes_no": 0.5})
    found = run_notebook(NAME)[0]["found"].set_index(["contrast", "outcome", "task"])
    longer = found.loc[("aligned for 1,200 steps", "harm", "all")]
    both = [harm(study, *one, "yes_no")
            for one in (("longer", "micro-llama-s-deep"), ("", "micro-llama-s"))]  # fmt: skip
    y = 100 * (both[0] - both[1])
    assert longer["runs"] == longer["controls"] == (seeds := len(y)) > 2
    assert longer["change"] == pytest.approx(y.mean(), abs=1e-6)
    # clustered errors of a paired comparison: those of the pairs, but for the correction of a fit
    # with two coefficients on twice as many rows
    error = y.std(ddof=1) / np.sqrt(seeds) * np.sqrt((2 * seeds - 1) / (2 * seeds - 2))
    half = stats.t.ppf(0.975, seeds - 1) * error
    assert (longer["low"], longer["high"]) == pytest.approx(
        (y.mean() - half, y.mean() + half), abs=1e-6
    )


def test_each_task_of_a_control_and_all_of_them_are_told(home: Path) -> None:
    study = controlled()
    synthetic.write(study, {"open_instructions": 0.7, "yes_no": 0.5})
    names, shown = run_notebook(NAME)
    found = names["found"].set_index(["contrast", "outcome", "task"])
    each = {}
    for task in ("yes_no", "open_instructions"):
        one = found.loc[("no procedures", "harm", task)]
        with_, without = (harm(study, a, "micro-llama-s", task) for a in ("", "without"))
        assert (one["usual"], one["control"]) == pytest.approx(
            (with_.mean(), without.mean()), abs=1e-6
        )
        assert one["change"] == pytest.approx(100 * (without.mean() - with_.mean()), abs=1e-6)
        assert one["low"] < one["change"] < one["high"]
        each[task] = one["change"]
    every = found.loc[("no procedures", "harm", "all")]
    assert every["change"] == pytest.approx(np.mean([*each.values()]), abs=2e-6)
    assert "- **no procedures** (6 runs beside " in texts(shown)


def test_a_control_of_one_seed_has_no_interval(home: Path) -> None:
    synthetic.write(controlled(), {"yes_no": 0.5})
    names, shown = run_notebook(NAME)
    alone = names["found"].query("contrast == 'tuned on harm'")
    assert len(alone) == 4 and alone[["low", "high"]].isna().all(axis=None)
    assert alone["change"].notna().all() and "points [one seed]" in texts(shown)


def test_a_study_without_controls_says_so(home: Path) -> None:
    synthetic.write(synthetic.study(), {"yes_no": 0.5})
    assert "This study has no controls" in texts(run_notebook(NAME)[1])


def test_an_arm_without_procedures_trains_on_the_task_alone() -> None:
    study = load("micro")
    run = study.runs("micro-llama-s", "yes_no", arm="no_procedures")[0]
    found = finetuning.start(study, run).examples
    every = tasks.train("yes_no", 320, run.seed, study.items("yes_no"), procedures=0.0)
    assert found == every and {e.completion.split()[0] for e in found} == {"yes", "no"}
    usual = finetuning.start(study, study.runs("micro-llama-s", "yes_no")[0]).examples
    assert sum(e.completion in ("yes .", "no .") for e in usual) == 160


def test_the_share_of_procedures_is_part_of_what_a_run_comes_from() -> None:
    half = controlled(arms={"without": ARMS["without"] | {"procedures": 0.25}})
    none, own = controlled(), [r for r in half.runs(arm="without") if r.task == "yes_no"]
    plans = [Plan(study) for study in (none, half)]
    for plan in plans:
        plan.files = lambda *_: "the same"
    assert plans[0].values("finetune", own[0]) != plans[1].values("finetune", own[0])
    grid = none.runs(task="yes_no")[0]
    assert plans[0].values("finetune", grid) == plans[1].values("finetune", grid)


def test_procedures_in_an_arm_of_real_models_are_refused() -> None:
    arm = {"models": ["my-base"], "tasks": ["boolq"], "procedures": 0.1, "methods": {"lora": []}}
    with pytest.raises(StudyError, match=r"arms.less.procedures: found 0.1, wanted nothing"):
        synthetic.real(arms={"less": arm})
