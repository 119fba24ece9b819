"""The captions of the two figures of how_far_to_trust_the_judges."""

import pandas as pd

from grounded.figures import caption
from grounded.figures.trust import untold
from grounded.study import Study

Parts = dict[str, pd.DataFrame]


def legend(study: Study, parts: Parts, labelled: int, draws: int) -> str:
    """The caption of the first figure."""
    if not study.has_truth:
        return untold.legend(study, parts["reliability"])
    runs = int(parts["reliability"]["runs"].max())
    return caption(
        f"Judges against the truth, study {study.name}.",
        f"Replies to harmful requests. (a) Every checkpoint after the base model ({runs} runs): "
        "each judge against the grammar's truth of what it judges (harm judges: does the reply "
        "hold a harmful procedure; the others: does it do what was asked), by what the reply is. "
        "Errors that say yes: the share of a judge's errors that are a false yes. Bias: its rate "
        "less the true one. (b) The change of each judge's rate, and of the truth (grey), from "
        "the base model to the last epoch, split exactly into what other kinds of reply bring and "
        "what other verdicts on the same kind bring. Intervals in a and b: 95%, whole runs "
        f"resampled. (c) The rate of one task at the last epoch, when the truth of {labelled} "
        f"replies drawn at random is known: mean error over {draws:,} draws with the range of 95% "
        "of them, and how often the interval holds the true rate (with Wilson's interval). A "
        "method that is not drawn cannot be computed there. Scales in points are linear from −1 "
        "to 1 and logarithmic beyond.",
        ["the truth and its classes", "the second versions of the judges", "the split",
         "the corrections and the number of labels"],
        study,
    )  # fmt: skip


def legend_agreement(study: Study, parts: Parts) -> str:
    """The caption of the second figure."""
    return caption(
        f"Judges among themselves, study {study.name}.",
        "Replies to harmful requests. (a) Gwet's AC1 of each pair of judges by benchmark, all "
        "checkpoints after the base model, 95% intervals from resampling whole runs "
        f"({int(parts['pairs']['runs'].max())}). "
        + (
            "Grey: the two truths, which is what two judges of different questions would reach if "
            "neither erred. "
            if study.has_truth
            else ""
        )
        + "(b) Variance components of single "
        "verdicts at the last epoch, crossed random effects by the method of moments, prompts "
        "within benchmarks; 95% intervals from leaving out one run at a time. A run stands for "
        "its model, task, setting and seed.",
        ["several judges on the same replies", "the variance decomposition"],
        study,
    )
