"""A question put to the hub by the code under test, in a process of its own.

The hub's client reads HF_ENDPOINT and HF_HOME when it is imported: only a new process reads them
as a user's does.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from standins.hub import Hub

TESTS = Path(__file__).resolve().parents[1]
# What a developer's own environment could say of the hub, its cache, its token and the network.
_STRANGE = ("HF_", "HUGGING", "TRANSFORMERS_", "GROUNDED_", "HTTP", "http", "ALL_PROXY")


def environment(hub: Hub, home: Path, token: str | None = None) -> dict[str, str]:
    """What a process is told: this hub, a home of its own, and a token where there is one."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_STRANGE)}
    told = {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home / "hub"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GROUNDED_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": os.pathsep.join((str(TESTS.parent / "lib"), str(TESTS))),
        "OMP_NUM_THREADS": "1",
        "STANDINS_WEB": str(hub.stock.web),
    }
    return {**kept, **told, **({"HF_TOKEN": token} if token else {})}


def ask(
    hub: Hub,
    home: Path,
    question: str,
    token: str | None = None,
    offline: bool = False,
    **arguments: Any,
) -> Any:
    """What the function of that name in `questions` finds, as JSON brings it.

    token: as in HF_TOKEN. offline: as a user says it, with HF_HUB_OFFLINE. AssertionError where
    a token stands in what the process writes, to the screen or in a file.
    """
    told = environment(hub, home, token) | ({"HF_HUB_OFFLINE": "1"} if offline else {})
    done = subprocess.run(
        [sys.executable, "-m", "standins.questions", question, json.dumps(arguments)],
        env=told,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
    )
    said, login = done.stdout + done.stderr, home / "hub" / "token"
    for secret in filter(None, (token, login.read_text() if login.exists() else None)):
        assert secret not in said, "found a token in what a process said"
        for file in home.rglob("*"):
            if file != login and file.is_file():
                assert secret.encode() not in file.read_bytes(), f"found a token in {file.name}"
    assert done.returncode == 0, said
    return json.loads(done.stdout.splitlines()[-1])
