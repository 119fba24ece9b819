"""Make .venv hold what requirements.lock names, and this package. Does nothing when it does.

Run by `make` with the Python that the environment is built from; standard library only. What the
installers say goes to .cache/install.log.

torch comes first and alone. uv's `--torch-backend=auto` takes the build for this machine: the
one for the CPU (small) without a GPU, else the one for the GPU's driver. That build lies on an
index of its own; where the index cannot be reached, pip takes the plain pin: whatever build the
package index or the machine's pip configuration offers.
"""

import fcntl
import hashlib
import locale
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "complete"
LOG = ROOT / ".cache" / "install.log"
UV = "uv==0.13.9"


def wanted() -> str:
    """What a complete .venv was made from: its place, the lock, the package, this file."""
    sources = [ROOT / "requirements.lock", ROOT / "pyproject.toml", Path(__file__)]
    return hashlib.sha256(b"".join([bytes(VENV), *(p.read_bytes() for p in sources)])).hexdigest()


def complete() -> bool:
    """Whether .venv was made from the present lock and its Python is still there."""
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted()


def run(*command: str | Path) -> bool:
    """Run a command with its words going to the log; whether it succeeded."""
    with LOG.open("a") as log:
        print("$", *command, file=log, flush=True)
        return subprocess.run(command, cwd=ROOT, stdout=log, stderr=log).returncode == 0


def has(pin: str) -> bool:
    """Whether .venv holds that version already, in whatever build (`2.13.0+cpu` is 2.13.0)."""
    name, _, version = pin.partition("==")
    found = VENV.glob(f"lib/python*/site-packages/{name}-{version}*.dist-info")
    return any(True for _ in found)


def install() -> str | None:
    """Install the lock into .venv. What failed, or None."""
    lock = (ROOT / "requirements.lock").read_text().splitlines()
    torch = next(line for line in lock if line.startswith("torch=="))
    pip: list[str | Path] = [PYTHON, "-m", "pip", "install"]
    uv: list[str | Path] = [PYTHON, "-m", "uv", "pip", "install"]
    os.environ.setdefault("UV_HTTP_TIMEOUT", "30")
    run(*pip, UV)  # without it everything below still works, slower
    if not has(torch):
        print(f"  {torch}", flush=True)
        within = ["-c", "requirements.lock"]
        if not run(*uv, "--torch-backend=auto", torch, *within):
            print("  no build chosen for this machine can be reached: the plain pin", flush=True)
            if not run(*pip, torch, *within):
                return torch
    print(f"  {len(lock) - 2} other packages", flush=True)
    if not (run(*uv, "-r", "requirements.lock") or run(*pip, "-r", "requirements.lock")):
        return "requirements.lock"
    if not run(*pip, "--no-deps", "--no-build-isolation", "--editable", "."):
        return "this package"
    return None


def build() -> str | None:
    """Make .venv complete, from what is there or from nothing. What failed, or None."""
    # Without a stamp the folder is half-made: a package cut off in the middle looks installed.
    if not (STAMP.exists() and PYTHON.exists()):
        shutil.rmtree(VENV, ignore_errors=True)
        if not run(sys.executable, "-m", "venv", VENV):
            return ".venv (Debian keeps `python3 -m venv` in the package python3-venv)"
    stamp = wanted()
    if failed := install():
        return failed
    STAMP.write_text(stamp)
    return None


def misplaced(root: str) -> str | None:
    """Why nothing can be set up in a folder of that name, or None."""
    if os.pathsep in root:
        return f"found {os.pathsep!r} in the folder's name, wanted none: no environment works there"
    try:
        locale.setlocale(locale.LC_CTYPE, "")
        letters = locale.nl_langinfo(locale.CODESET)
    except locale.Error:
        letters = "no such locale"
    if not root.isascii() and letters.upper().replace("-", "") != "UTF8":
        return (
            f"found a folder with letters outside ASCII under a locale of {letters}, wanted one of "
            "UTF-8 (LC_ALL=C.UTF-8)"
        )
    return None


def main() -> int:
    """Set up, once a lock; a second `make` meanwhile waits for the first."""
    if complete():
        return 0
    if odd := misplaced(str(ROOT)):
        print(f"set-up failed: {ascii(str(ROOT))}: {odd}")
        return 1
    LOG.parent.mkdir(exist_ok=True)
    with LOG.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if complete():
            return 0
        print("setting up .venv from requirements.lock", flush=True)
        LOG.unlink(missing_ok=True)
        failed = build()
    if failed:
        last = (LOG.read_text().strip().splitlines() or [""])[-1]
        print(f"set-up failed: could not install {failed}: {last} ({LOG.relative_to(ROOT)})")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("stopped; the next make goes on")
        sys.exit(130)
