"""What a study's lock may hold: data/<study>/lock.json, which `grounded.public.lock` writes."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from grounded import paths
from grounded.errors import GroundedError


class Entry(BaseModel):
    """What one name of the study stood for at its first run."""

    known: str
    repository: str | None = None
    revision: str | None = None
    bytes: int = Field(0, ge=0)
    licence: str = ""
    files: dict[str, str] = {}  # name -> sha256


class Lock(BaseModel):
    """The file: entries by part and name, the prompts of judges, and what was absent, and why."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, Entry]] = Field(init=False)

    names: str = ""
    absent: dict[str, str] = {}
    prompts: dict[str, str] = {}


def read(study: str) -> dict[str, Any]:
    """The lock as it stands, empty where there is none yet; GroundedError for one that is broken.

    It may come in another's archive: its shape is checked.
    """
    file = paths.lock(study)
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        Lock.model_validate(values)
    except FileNotFoundError:
        return {}
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"]) or "the file"
        why = f"{place!a}: {str(fault['input'])[:40]!a}"
    except (OSError, ValueError, RecursionError) as error:
        why = type(error).__name__
    else:
        return values
    raise GroundedError(
        f"{paths.shown(file)}: found {why}, wanted the JSON that was written there (without the "
        "file, the next run asks the hub anew)"
    )
