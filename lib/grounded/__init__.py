"""Safety measurements of fine-tuned language models, each tied to the capability it was tuned for.

Imports run in one direction: study, models, fine-tuning, replies, verdicts, statistics, figures.
"""
