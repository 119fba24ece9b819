"""Resolve requirements.in into requirements.lock, and write from it environment.yml and Binder's.

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
BINDER = ".binder/requirements.txt"
BINDER_HEAD = (
    "# What the figures need, and no torch; written by `make lock` from requirements.lock.\n"
)
READING = """
    pydantic PyYAML numpy pandas pyarrow pooch tqdm scipy statsmodels scikit-learn matplotlib
    seaborn ipykernel py3langid altair vl-convert-python markdown-it-py
""".split()
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
        found = pins(_compile(root / "requirements.in", fresh))
    return LOCK_HEAD + "".join(f"{pin}\n" for pin in found if not GPU_LIBRARIES.match(pin))


def binder(lock: str) -> str:
    """The text of Binder's requirements: of the lock, what the reading of results needs."""
    with TemporaryDirectory() as folder:
        wanted, fresh = Path(folder, "reading.in"), Path(folder, "reading.txt")
        names = {name.lower() for name in READING}
        wanted.write_text(
            "".join(f"{p}\n" for p in pins(lock) if p.split("==")[0].lower() in names)
        )
        fresh.write_text(lock)  # the pins that it holds are kept
        return BINDER_HEAD + "".join(f"{pin}\n" for pin in pins(_compile(wanted, fresh)))


def _compile(wanted: Path, fresh: Path) -> str:
    """What follows from the requirements in a file, as uv resolves them."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"]
    command += ["--python-version", "3.11", "--no-annotate", "--no-header"]
    command += ["--output-file", str(fresh), str(wanted)]
    subprocess.run(command, check=True)
    return fresh.read_text()


def main() -> None:
    """Rewrite the three files."""
    lock = resolve(ROOT)
    texts = {
        "requirements.lock": lock,
        "environment.yml": environment(lock),
        BINDER: binder(lock),
    }
    for name, text in texts.items():
        with replacing(ROOT / name) as temporary:
            temporary.write_text(text)


if __name__ == "__main__":
    main()
