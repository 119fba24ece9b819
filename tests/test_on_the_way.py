"""Capability on the way: where replies are asked for, and what is kept."""

from typing import Any

import pandas as pd
import pytest
import tiny_models as tiny

from grounded import paths
from grounded.errors import GroundedError
from grounded.stages import generate
from grounded.study import BASE
from grounded.study.anchoring import Anchoring

GOALS = (
    "model,task,base,capability,loss,update_norm,epoch\nmicro-llama-s,yes_no,0.1,0.55,0.6,1.5,0.5\n"
)
ANCHORING: dict[str, Any] = {"metric": "format_free", "kappa": 0.5, "tolerance": 0.06, "every": 2,
             "goals": "goals.csv", "judge": "harm"}  # fmt: skip


class Asker:
    """Right answers to so many items of twenty at each step, and a note of what was asked."""

    def __init__(self, right):
        self.right, self.asked = right, []

    def answers(self, run, step, adapter, each=1):
        items = range(0, 20, each)
        right = [number < self.right[step] for number in items]
        tasks = ["yes_no", "science"] if run.task == BASE else [run.task]
        return pd.concat(
            pd.DataFrame(
                {"task": task, "item": items, "run": run.id, "step": step, "answer": "x",
                 "correct": False, "correct_format_free": right}
            ) for task in tasks
        )  # fmt: skip

    def ask(self, run, step, adapter):
        self.asked.append(step)
        replies = pd.DataFrame({"run": [run.id], "step": [step], "text": ["no ."]})
        return {"replies": replies, "capability": self.answers(run, step, adapter)}


@pytest.fixture()
def study(tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    found = tiny.study(anchoring=ANCHORING)
    paths.data(found.name).mkdir(parents=True)
    (paths.data(found.name) / "goals.csv").write_text(GOALS)
    return found


def asked(study, right):
    run = study.runs("micro-llama-s", "yes_no")[0]
    steps = list(study.saved_steps("yes_no"))
    checkpoints = pd.DataFrame(
        {"run": run.id, "step": steps, "loss": [1 / s for s in steps], "update_norm": steps}
    )
    asker = Asker(dict(zip(steps, right, strict=True)))
    frames = generate._ask_on_the_way(study, asker, run, checkpoints, steps)
    return asker, frames


def test_replies_are_asked_for_at_the_epochs_and_where_the_run_is_at_a_goal(study):
    assert list(study.saved_steps("yes_no")) == [2, 4, 6, 8]  # 4 an epoch; asked at 2 and 8
    asker, frames = asked(study, [2, 8, 11, 20])
    # capability .55 at step 6; a loss of at most .6 and a norm of at least 1.5 at step 2
    assert asker.asked == [2, 6, 8]
    assert set(frames["capability"]["step"]) == set(frames["replies"]["step"]) == {2, 6, 8}


def test_capability_on_the_way_is_counted_on_the_selecting_items(study):
    _, frames = asked(study, [2, 8, 11, 20])
    progress = frames["progress"].set_index("step")
    assert progress["items"].tolist() == [10] * 4
    assert progress["format_free"].tolist() == [1, 4, 6, 10]
    assert progress["strict"].tolist() == [0] * 4


def test_once_at_its_goal_a_run_answers_at_the_epochs_alone(study):
    _, frames = asked(study, [2, 11, 12, 20])
    assert frames["progress"]["step"].tolist() == [2, 4, 8]
    assert frames["progress"]["format_free"].tolist() == [1, 6, 10]


def test_a_run_that_jumps_over_its_goal_is_asked_at_no_other_step(study):
    asker, _ = asked(study, [2, 4, 18, 20])
    assert asker.asked == [2, 8]


def test_a_base_model_is_asked_once(study):
    run = study.runs("micro-llama-s", BASE)[0]
    asker = Asker({0: 3})
    frames = generate._ask_on_the_way(study, asker, run, pd.DataFrame(), [0])
    assert asker.asked == [0] and frames["progress"]["format_free"].tolist() == [2, 2]


def test_a_model_and_task_without_a_goal_are_one_line(study):
    line = r"goals.csv: found no line for micro-llama-s and open_instructions"
    with pytest.raises(GroundedError, match=line):
        study.goals("micro-llama-s", "open_instructions")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"goals": None}, "anchoring.goals: found nothing, wanted a file"),
        ({"goals": "others.csv"}, "anchoring.goals: found .others.csv., wanted .goals.csv."),
        ({"judge": "nobody"}, "anchoring.judge: found 'nobody', wanted one of harm"),
        ({"pilot": [0]}, "anchoring.pilot: found 0, wanted seeds that no run of the study has"),
        ({"kappa": 1.0}, "anchoring.kappa: found 1.0, wanted less than 1"),
    ],
)
def test_faults_of_anchoring_are_one_line(change, line):
    with pytest.raises(GroundedError, match=line):
        tiny.study(anchoring={n: v for n, v in (ANCHORING | change).items() if v is not None})


def test_anchoring_needs_no_file_where_capability_is_measured_at_epochs_alone():
    plain = {n: v for n, v in ANCHORING.items() if n not in ("every", "goals")}
    assert tiny.study(anchoring=plain).anchoring == Anchoring(**plain)
