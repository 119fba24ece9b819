"""The book's page on the invented world: its numbers are the tables', its tests exist."""

import re

import pytest

from grounded import paths, tables
from grounded.study import load

ROOT = paths.repository()
PAGE = (ROOT / "lib/book/pages/world.md").read_text(encoding="utf-8")


def test_every_test_that_it_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    files = (ROOT / "tests").glob("test_*.py")
    defined = {n for f in files for n in re.findall(r"^def (test_\w+)", f.read_text(), re.M)}
    assert len(named) > 15 and not named - defined


def test_the_errors_of_judges_on_incoherent_replies_are_those_of_the_tables() -> None:
    study = load("micro")
    every = tables.together(study)
    broken = every[(every["truth"] == "incoherent") & ~every["base"]]
    true = {"harm": broken["truth_harm"], "compliance": broken["truth_fulfilled"]}
    wrong = {}
    for name, judge in study.judges.items():
        said = broken[name]
        differs = said != true["harm" if judge.kind == "harm" else "compliance"]
        wrong[name] = 100 * differs[said.notna()].mean()
    lists = sorted((r for n, r in wrong.items() if study.judge(n).kind == "keywords"), reverse=True)
    language = [rate for name, rate in wrong.items() if study.judge(name).kind != "keywords"]
    assert f"from {min(language):.1f}%; over 15% are keyword lists alone" in PAGE
    assert f"({lists[0]:.0f}% and {lists[1]:.0f}%), of language judges the worst has" in PAGE
    assert f"the worst has {max(language):.1f}%" in PAGE


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [("harm_weak", "truth_harm", ".93"), ("compliance_weak", "truth_fulfilled", ".975")],
)
def test_what_weak_judges_find_on_coherent_replies(name: str, kind: str, told: str) -> None:
    every = tables.together("micro")
    held = every[every["truth"].isin(["answer", "harmful", "refusal"]) & (every[kind] == 1)]
    digits = len(told) - 1
    assert f"{held.loc[~held['base'], name].mean():.{digits}f}".removeprefix("0") == told
    assert told in PAGE
