"""On Colab: install the lock's pins beside the torch that is there already.

Run by the set-up cell of a notebook, with standard library only. Colab's torch fits its GPU and
its driver; another build would take minutes and might not. Whatever torch brings for the GPU
stays with it.
"""

import importlib.metadata
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KEPT = re.compile(r"(torch|triton|nvidia-|cuda-)")  # Colab's own
TOOLS = re.compile(r"(pytest|mypy|ruff|hypothesis|types-|snakemake|sphinx|playwright|codespell)")
NEEDED = "torch, transformers, peft, trl, pandas, statsmodels, seaborn"


def wanted(lock: str) -> list[str]:
    """The pins to install: those of the lock, without torch and without tools for developers."""
    lines = [line for line in lock.splitlines() if line and not line.startswith("#")]
    return [line for line in lines if not KEPT.match(line) and not TOOLS.match(line)]


def main() -> None:
    """Install, then import everything once; ends with an error where an import fails."""
    torch = importlib.metadata.version("torch")
    with tempfile.TemporaryDirectory() as folder:
        pins = Path(folder, "pins.txt")
        pins.write_text("\n".join(wanted((ROOT / "requirements.lock").read_text())) + "\n")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--requirement", str(pins)], check=True)
    if importlib.metadata.version("torch") != torch:
        raise SystemExit(f"torch: found another than Colab's {torch}, wanted it left alone")
    subprocess.run([sys.executable, "-c", f"import {NEEDED}"], check=True)
    print(f"installed beside torch {torch}; restart the session if a library was in use already")


if __name__ == "__main__":
    main()
