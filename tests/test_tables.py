"""What the readers of tables refuse, in one line."""

from pathlib import Path
from typing import Any

import pytest
import synthetic

from grounded import tables
from grounded.errors import GroundedError


def test_rows_of_a_run_that_the_study_lacks_are_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    study = synthetic.study(models=["micro-llama-s"], tasks=["yes_no"], lora=["r4-low"])
    synthetic.write(study)
    fewer = study.model_copy(update={"seeds": (0,)})
    found = r"yes_no.parquet: run: found micro-llama-s.yes_no.*s1, wanted a run of the study"
    with pytest.raises(GroundedError, match=found):
        tables.capability(fewer)
