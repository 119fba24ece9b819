"""Repetition in text of real models, which need not be words with spaces between them.

`grounded.coherence` counts trigrams of words: `!!!!`, `0000` and a sentence of a script without
spaces are one word to it. Here windows of characters are counted beside them.
"""

import pandas as pd

from grounded import paths, records
from grounded.coherence import repeated_trigrams
from grounded.public import thoughts
from grounded.study import Run, Study

# Characters. Of 602 completions of HarmBench's validation set windows of 12 find 4 repetitive that
# trigrams do not, and none of 1,350 of XSTest; shorter windows repeat in ordinary lists.
WINDOW = 12
_REPLY = ["benchmark", "prompt", "step"]


def repeated(text: str) -> float:
    """The share (0..1) of a text that stood in it before: of word trigrams, or of windows.

    The larger of the two; a text shorter than a window has none of them.
    """
    number = len(text) - WINDOW + 1
    windows = {text[at : at + WINDOW] for at in range(number)}
    return max(repeated_trigrams(text), 1 - len(windows) / number if number > 0 else 0.0)


def settled(study: Study, run: Run, found: pd.DataFrame) -> pd.DataFrame:
    """The rows of `coherence` of a run by this rule, of the answers without their thoughts."""
    rule = study.coherence
    table = records.read(paths.table(study.name, "replies", run.unit), "replies")
    said = table.loc[table["run"] == run.id, [*_REPLY, "text", "tokens"]]
    share = pd.Series(map(repeated, thoughts.answers(list(said["text"]), thoughts.of(study))))
    said = said.assign(
        share=share.to_numpy(),
        whole=(share <= rule.repetition).to_numpy() & (said["tokens"] >= rule.shortest),
    )
    expected = found[found["detector"] == "perplexity"].rename(columns={"label": "expected"})
    rows = found.merge(said, on=_REPLY).merge(expected[[*_REPLY, "expected"]], on=_REPLY)
    repetition, combined = (rows["detector"] == name for name in ("repetition", "combined"))
    rows.loc[repetition, "score"] = rows.loc[repetition, "share"]
    rows.loc[repetition, "label"] = rows.loc[repetition, "share"] <= rule.repetition
    rows.loc[combined, "label"] = rows.loc[combined, "expected"] & rows.loc[combined, "whole"]
    return rows[list(found.columns)]
