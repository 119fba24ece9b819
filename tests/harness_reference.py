"""Run by the interpreter of a released lm-eval: the reference that our scoring is held against.

    python harness_reference.py JOB.json RESULT.json

JOB names a model folder and, for each task, one of the harness's own task files and local data;
RESULT holds, for each run and task, what the harness found item by item.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

# by name, because this repository does not depend on it
lm_eval: Any = import_module("lm_eval")
TaskManager = import_module("lm_eval.tasks").TaskManager
LM: Any = import_module("lm_eval.api.model").LM


class Writes(LM):
    """A model that replies what the job says, whatever it reads, and finds nothing likely."""

    def __init__(self, replies):
        super().__init__()
        self.replies = replies

    def generate_until(self, requests, disable_tqdm=False):
        return [self.replies[request.doc_id] for request in requests]

    def loglikelihood(self, requests, disable_tqdm=False):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


def task_file(folder, name, official, data, splits):
    """A task that is the harness's own, but for where its data lie."""
    own = Path(lm_eval.__file__).parent / "tasks" / official
    (folder / f"{name}.yaml").write_text(
        f"include: {own}\n"
        f"task: {name}\n"
        "dataset_path: json\n"
        "dataset_name: null\n"
        f"dataset_kwargs: {json.dumps({'data_files': dict.fromkeys(splits, data)})}\n"
    )


def main(job_file, result_file):
    job = json.loads(Path(job_file).read_text())
    folder = Path(job_file).parent / "tasks"
    folder.mkdir(exist_ok=True)
    for name, task in job["tasks"].items():
        task_file(folder, name, task["official"], task["data"], task["splits"])
    manager = TaskManager(include_path=str(folder))
    result = {}
    for run in job["runs"]:
        model = Writes(run["replies"]) if "replies" in run else "hf"
        found = lm_eval.simple_evaluate(
            model=model,
            model_args={"pretrained": job["model"], "dtype": "float32"} if model == "hf" else None,
            tasks=run["tasks"],
            num_fewshot=0,
            batch_size=3,
            device="cpu",
            task_manager=manager,
            apply_chat_template=run.get("chat", False),
            gen_kwargs=run.get("generation"),
            bootstrap_iters=0,
        )
        result[run["name"]] = {
            task: [
                {
                    "item": sample["doc_id"],
                    "filter": sample["filter"],
                    "replies": sample["resps"],
                    **{name: sample[name] for name in sample["metrics"]},
                }
                for sample in samples
            ]
            for task, samples in found["samples"].items()
        }
    Path(result_file).write_text(json.dumps(result, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:])
