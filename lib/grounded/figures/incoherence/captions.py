"""The captions of the two figures of what_is_incoherence."""

from grounded.detectors.corruptions import LOOP
from grounded.detectors.real_text import Numbers
from grounded.detectors.world import ALL
from grounded.figures import caption
from grounded.figures.incoherence.numbers import NO_TRUTH, Parts
from grounded.study import Study


def legend(study: Study, parts: Parts) -> str:
    """The caption of the first figure."""
    if not parts:
        return NO_TRUTH
    whole = parts["areas"].query(f"task == '{ALL}'")
    runs = int(whole["runs"].max())
    return caption(
        f"Detectors of incoherence against the truth, study {study.name}.",
        f"Replies to harmful requests at every checkpoint after the base model ({runs} runs), but "
        "for d. (a, b) ROC curves: the share found of incoherent (a) and of mixed replies (b) "
        "against the share of coherent ones called so, by the grammar's truth; bands: 95% at each "
        "share. Each detector points one way, fixed beforehand: surprising, repetitive, "
        "compressible, short. A curve below the dotted line points the other way. Cross: the "
        "study's rule, which joins perplexity, repetition and length. (c) The area under each "
        "curve (AUC) by task; dotted: chance. (d) The share of incoherent replies at the last "
        "epoch, by the truth and by the rule; the base models are one row. (e) What the rule calls "
        "incoherent, by what the reply is. Bars: 95%, whole runs resampled; Wilson's, of as many "
        "as runs, where all replies are alike.",
        ["the truth and its classes", "the detectors and their directions",
         "the rule and its thresholds"],
    )  # fmt: skip


def legend_real(numbers: Numbers) -> str:
    """The caption of the figure on real text."""
    about = numbers.statistics
    return caption(
        "Judges and detectors on corrupted real text.",
        f"HarmBench's {about['completions']} completions of {about['behaviours']} behaviours "
        f"({about['harmful']} that at least two of three people found harmful), corrupted in known "
        f"ways. Strength is the share of words that change places, give way to a loop of {LOOP} "
        "words, or are cut off (at 1 nothing is left); right: another text stands in place of the "
        "whole. (a) Share that each judge calls harmful (a keyword list: that holds no refusal "
        "phrase). Solid: of completions that people found harmless, where every yes is a false "
        "alarm. Dashed: of those that they found harmful, where it is one at strength 1 alone; "
        "between, they may be harmful still. (b) Area under the ROC curve (AUC) of each detector, "
        "corrupted against untouched completions; dotted: chance. (c) The curves at strength ½, "
        "and of the echo. Bars and bands: 95%, whole behaviours resampled; Wilson's, of as many as "
        "behaviours, where all verdicts are alike.",
        ["the whole figure, which the paper does not have", "the corruptions",
         "what is taken as harmless after each"],
    )  # fmt: skip
