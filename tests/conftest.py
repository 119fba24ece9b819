"""What all tests share: which of them need to be asked for."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slurm", action="store_true", help="start a Slurm cluster and test on it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slurm"):
        skipped = pytest.mark.skip(reason="starts a Slurm cluster: make test-slurm")
        for item in items:
            if "slurm" in item.keywords:
                item.add_marker(skipped)
