"""A study whose judges are lists of refusal phrases: no figure calls what they count harm."""

import re
from pathlib import Path
from typing import Any

import matplotlib.text
import pandas as pd
import pytest
import synthetic
from pages import run_notebook, texts

from grounded import at_goal, fingerprint, paths, save
from grounded.study import Study
from grounded.study.anchoring import Anchoring
from workflow.notebooks import figure_notebooks

OTHERS = ["figure_5_human_labels", "what_is_incoherence"]  # of completions that people labelled
# what may be said: that there is no harm judge, and what one would be
RIGHT = re.compile(
    r"No judge of harm|No harm judge|a keyword list cannot say that a reply harms"
    r"|a judge of harm and one of compliance answer different questions"
)
WRONG = re.compile(r"\bharm\b|harmfulness|call(s|ed) \w* ?harmful", re.IGNORECASE)
FIXED = {  # a few settings and seeds, so that there is something to draw
    "lora": {f"r{r}": {"rank": r, "alpha": 4, "learning_rate": r * 1e-3} for r in (2, 4)},
    "seeds": [0, 1, 2],
    "measure_at": [0.5, 1],
}
ANCHORED = {"metric": "format_free", "kappa": 0.5, "tolerance": 0.3, "judge": "keywords_xstest"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        arms = {
            "mitigations": {
                "models": ["my-base"], "tasks": ["gsm8k"], "settings": ["r2"],
                "seeds": [5, 6, 7, 8, 9, 10], "methods": {"lora": [], "safe_lora": [0.5]},
            },
        }  # fmt: skip
        asked = {"anchoring": ANCHORED | {"mitigations": "mitigations"}, "arms": arms}
        synthetic.write(synthetic.real(**FIXED, **asked), {"gsm8k": 1.0, "boolq": 0.9})
        yield


@pytest.mark.parametrize("name", [one for one in figure_notebooks() if one not in OTHERS])
def test_no_figure_calls_it_harm(name: str, home: None, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    keep = save.figure

    def figure(picture: Any, study: Any, name: str, data: pd.DataFrame, alt: str) -> Any:
        drawn.extend(one.get_text() for one in picture.findobj(matplotlib.text.Text))
        return keep(picture, study, name, data, alt)

    monkeypatch.setattr(save, "figure", figure)
    _, shown = run_notebook(name)
    kept = [file for kind in ("csv", "md") for file in _kept(name, kind)]
    for text in [*drawn, texts(shown), *(file.read_text() for file in kept)]:
        for line in text.splitlines():
            assert not WRONG.search(RIGHT.sub("", line)), line
    assert drawn and kept


def _kept(name: str, kind: str) -> list[Path]:
    return sorted(paths.figures("synthetic").glob(f"{name}*.{kind}"))


def test_what_a_list_of_phrases_counts_is_called_so_beside_people() -> None:
    """Figure 5 needs public completions: its words are read in its cells."""
    cells = fingerprint.cells(paths.notebook("figure_5_human_labels"))
    said = [cell for cell in cells if "called harmful" in cell or "calls harmful" in cell]
    assert len(said) == 2 and all("refusal phrase" in " ".join(cell.split()) for cell in said)


def test_a_judge_of_harm_is_still_called_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    synthetic.write(synthetic.study(test_items=80), {"open_instructions": 0.7, "yes_no": 0.5})
    monkeypatch.setattr(Study, "has_truth", property(lambda _: False))
    for judge, word in (("harm", "harm"), ("compliance", "compliance rate")):
        plan = Anchoring(metric="format_free", kappa=0.5, tolerance=0.06, judge=judge)
        monkeypatch.setattr(at_goal, "asked", lambda _, plan=plan: plan)
        said = texts(run_notebook("does_anchoring_help", worlds=10)[1])
        assert f"Does anchoring steady {word}**, by what `{judge}` says?" in said
