"""Resolve requirements.in into requirements.lock, and write environment.yml from the lock.

The lock holds every package for Python 3.11 to 3.14 on each platform. Left out are the GPU
libraries that the Linux build of torch names: whether they are wanted depends on the machine, and
the installer of torch brings them where they are (see install.py).
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from grounded.records import replacing

ROOT = Path(__file__).resolve().parents[2]
GPU_LIBRARIES = re.compile(r"(nvidia|cuda)-|triton==")
LOCK_HEAD = "# Every package, exactly; written by `make lock` from requirements.in.\n"
CONDA_HEAD = """\
# The full environment for conda users; written by `make lock` from requirements.lock.
# On Linux this takes torch's GPU build; `make` takes the CPU build where that is enough.
name: grounded
channels:
  - conda-forge
dependencies:
  - python=3.11
  - pip
  - pip:
"""


def pins(lock: str) -> list[str]:
    """The requirements that a lock's text holds, without comments."""
    return [line for line in lock.splitlines() if line and not line.startswith("#")]


def environment(lock: str) -> str:
    """The text of environment.yml: its pip block is the lock, line by line."""
    return CONDA_HEAD + "".join(f'      - "{pin}"\n' for pin in pins(lock))


def resolve(root: Path) -> str:
    """The text of the lock that follows from requirements.in; pins of the old lock are kept."""
    with TemporaryDirectory() as folder:
        fresh = Path(folder, "requirements.lock")
        if (old := root / "requirements.lock").exists():
            shutil.copy(old, fresh)
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"]
        command += ["--python-version", "3.11", "--no-annotate", "--no-header"]
        command += ["--output-file", str(fresh), "requirements.in"]
        subprocess.run(command, cwd=root, check=True)
        found = pins(fresh.read_text())
    return LOCK_HEAD + "".join(f"{pin}\n" for pin in found if not GPU_LIBRARIES.match(pin))


def main() -> None:
    """Rewrite both files."""
    lock = resolve(ROOT)
    for name, text in {"requirements.lock": lock, "environment.yml": environment(lock)}.items():
        with replacing(ROOT / name) as temporary:
            temporary.write_text(text)


if __name__ == "__main__":
    main()
