"""The README's numbers are those of the committed figures, and it is short."""

import json
from typing import Any

import pytest

from grounded import paths

README = (paths.repository() / "README.md").read_text(encoding="utf-8")


def statistics(name: str) -> Any:
    file = paths.repository() / "figures" / "micro" / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8"))["statistics"]


def claim(number: str, source: str, task: str) -> str:
    """An effect with its interval, in points, as the README writes it."""
    file = paths.repository() / "figures" / "micro" / "claims.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["claims"]
    keys = ("claim", "source", "task")
    (row,) = [r for r in rows if tuple(r[k] for k in keys) == (number, source, task)]
    return "{estimate:.0f} points [{low:.0f}, {high:.0f}]".format(**row)


def line(score: str) -> str:
    """A line of figure 3: slope and R², as the README writes them."""
    rows = statistics("figure_3_evaluators")["lines"]
    (row,) = [r for r in rows if (r["score"], r["measure"]) == (score, "harmfulness rate")]
    return f"slope {row['slope']:+.2f}, R² {row['R²']:.2f}".replace("-", "−")


def judge() -> str:
    """What the judge of `smol` that was tuned on people's labels does, as its record has it."""
    file = paths.repository() / "data" / "smol" / "judges" / "compliance" / "record.json"
    found = json.loads(file.read_text(encoding="utf-8"))["acceptance"]
    kinds = found["broken"].values()
    yes, asked = (sum(kind[name] for kind in kinds) for name in ("yes", "n"))
    return (
        f"a kappa of {found['held_out']['kappa']:.2f} on replies held out, and calls {yes} of "
        f"{asked} broken ones compliance"
    )


def primary() -> str:
    """The registered ratio of variances with its interval."""
    row = statistics("does_anchoring_help")["primary"][0]
    return f"{row['ratio']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


@pytest.mark.parametrize(
    "said",
    [
        claim("0", "truth", "open_instructions"),
        claim("1", "truth", "arithmetic"),
        claim("1", "truth", "multiple_choice"),
        line("strict"),
        line("format-free"),
        judge(),
        primary(),
    ],
)
def test_a_number_is_the_one_that_was_found(said: str) -> None:
    assert said in README


def test_it_is_read_in_a_few_minutes() -> None:
    assert len(README.split()) <= 900
