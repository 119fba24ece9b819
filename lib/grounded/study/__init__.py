"""A study: models, tasks, LoRA grid, seeds, benchmarks and judges, from data/<study>/study.yaml.

Everything is checked on load, and each fault is one line: file, field, value found, value wanted.
"""

from grounded.study.grid import Run, Study, StudyError
from grounded.study.parts import BASE, BENCHMARKS, TASKS, KeywordJudge, LanguageJudge
from grounded.study.reading import load, parse

__all__ = [
    "BASE",
    "BENCHMARKS",
    "TASKS",
    "KeywordJudge",
    "LanguageJudge",
    "Run",
    "Study",
    "StudyError",
    "load",
    "parse",
]
