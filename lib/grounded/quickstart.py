"""One run from its base model to its last epoch, in a folder of its own: a study in a minute.

The stages are those of every study; what the whole study has measured is not touched.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from grounded import paths
from grounded.errors import GroundedError
from grounded.study import Study, load

NAME = "quickstart"


def begin(study: str, model: str, task: str, setting: str, seed: int) -> Study:
    """A study of one run, with the models and judges of `study`, in a temporary folder.

    From here on GROUNDED_HOME names that folder, in this process alone. StudyError or
    GroundedError for a model, task or setting that the study lacks.
    """
    whole = load(study)
    if not whole.has_truth:
        raise GroundedError(f"{study}: found real models, wanted a study of the invented world")
    whole.runs(model, task)  # unknown names are one-line errors
    if setting not in whole.lora:
        raise GroundedError(
            f"{paths.shown(paths.study_file(study))}: lora: found {setting!r}, "
            f"wanted one of {', '.join(whole.lora)}"
        )
    one = whole.model_copy(
        update={
            "name": NAME, "models": {model: whole.models[model]}, "variants": {}, "arms": {},
            "tasks": {task: whole.tasks[task]}, "lora": {setting: whole.lora[setting]},
            "seeds": (seed,), "anchoring": None,
        }
    )  # fmt: skip
    scratch = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    shutil.copytree(paths.data(study) / "judges", scratch / "data" / NAME / "judges")
    source = paths.data(study) / "models" / model
    shutil.copytree(source, scratch / "data" / NAME / "models" / model)
    os.environ["GROUNDED_HOME"] = str(scratch)
    return one
