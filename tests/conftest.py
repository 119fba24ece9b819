"""What all tests share: which of them need to be asked for."""

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slurm", action="store_true", help="start a Slurm cluster and test on it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slurm"):
        skipped = pytest.mark.skip(reason="starts a Slurm cluster: make test-slurm")
        for item in items:
            if "slurm" in item.keywords:
                item.add_marker(skipped)


@pytest.fixture(scope="session")
def lm_eval(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a released lm-eval, beside the packages of this environment."""
    from grounded.public.harness import RELEASE  # with torch, which most tests do without

    folder = tmp_path_factory.mktemp("lm_eval")
    try:
        venv.create(folder, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no environment of its own for lm-eval: {type(error).__name__}")
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    here = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=here))
    # torch, transformers and datasets are those of this environment; what lm-eval adds is its own
    (site / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [str(python), "-m", "pip", "install", "--quiet", f"lm-eval=={RELEASE}"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"lm-eval {RELEASE} cannot be installed here: {done.stderr.strip()[-200:]}")
    return python
