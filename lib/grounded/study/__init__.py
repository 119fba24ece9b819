"""A study: models, tasks, LoRA grid, seeds, benchmarks and judges, from data/<study>/study.yaml.

Everything is checked on load, and each fault is one line: file, field, value found, value wanted.
"""

from grounded.study.asking import KeywordJudge, LanguageJudge, PublicJudge, TunedJudge
from grounded.study.grid import GIVEN, LORA, Run, Study, StudyError
from grounded.study.parts import BASE, UNTAUGHT
from grounded.study.reading import load, parse

__all__ = [
    "BASE", "UNTAUGHT", "GIVEN", "LORA", "KeywordJudge", "LanguageJudge", "PublicJudge", "Run",
    "Study", "StudyError", "TunedJudge", "load", "parse",
]  # fmt: skip
