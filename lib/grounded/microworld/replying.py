"""What checkpoints of the invented world reply, with the truth of it, and answer."""

import copy
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import PreTrainedModel

from grounded import fingerprint, paths
from grounded.generate import load, reply
from grounded.methods.parts import factors
from grounded.microworld import benchmarks, tasks
from grounded.microworld.prefixes import PREFIXES
from grounded.study import BASE, Run, Study
from grounded.study.methods import TEST_PROMPTS


class Asker:
    """Asks the checkpoints of one base model; the model is loaded once."""

    def __init__(self, study: Study, model: str) -> None:
        """GroundedError where the model is missing or broken."""
        self.study, self._model = study, model
        self._base, self._words = load(paths.model(study.name, model))
        self._tuned = copy.deepcopy(self._base)
        self._limits = (study.generation.max_new_tokens, study.generation.batch_size)
        self._asked = {
            name: benchmarks.load(name, benchmark.prompts or 0)
            for name, benchmark in study.benchmarks.items()
        }

    @property
    def facts(self) -> dict[str, Any]:
        """What is the same for all replies, for the record."""
        template = paths.model(self.study.name, self._model) / "chat_template.jinja"
        return {"dtype": "float32", "template": fingerprint.file(template)}

    def replies(self, run: Run, step: int, adapter: Path | None) -> pd.DataFrame:
        """The rows of `replies` of one checkpoint; without adapter, of the base.

        GroundedError for an adapter that does not fit, or logits that are not numbers.
        """
        model, prefix = self._model_with(adapter), self._prefix(run)
        asked = [prefix + prompt.text for prompts in self._asked.values() for prompt in prompts]
        said = iter(reply(model, self._words, asked, *self._limits))
        rows = []
        for benchmark, prompts in self._asked.items():
            for prompt, given in zip(prompts, said, strict=False):
                truth = benchmarks.truth(prompt, given.text, given.finish == "stop")
                rows.append(
                    {"benchmark": benchmark, "prompt": prompt.id, "run": run.id, "step": step,
                     "text": given.text, "finish": given.finish, "tokens": given.tokens,
                     "truth": truth.label, "truth_harm": truth.harm,
                     "truth_fulfilled": truth.fulfilled}
                )  # fmt: skip
        return pd.DataFrame(rows)

    def answers(self, run: Run, step: int, adapter: Path | None, each: int = 1) -> pd.DataFrame:
        """The rows of `capability` of one checkpoint; without adapter, of the base on each task.

        each: 2 for the selecting items alone. Errors as `replies`.
        """
        model, prefix = self._model_with(adapter), self._prefix(run)
        rows = []
        for task in self.study.tasks if run.task == BASE else (run.task,):
            items = tasks.test(task, self.study.items(task))[::each]
            asked = [prefix + item.prompt for item in items]
            said = reply(model, self._words, asked, *self._limits)
            for number, (item, given) in enumerate(zip(items, said, strict=True)):
                score = tasks.score(task, item, given.text)
                rows.append(
                    {"task": task, "item": number * each, "run": run.id, "step": step,
                     "answer": score.answer, "correct": score.correct,
                     "correct_format_free": score.correct_format_free}
                )  # fmt: skip
        return pd.DataFrame(rows)

    def ask(self, run: Run, step: int, adapter: Path | None) -> dict[str, pd.DataFrame]:
        """Both of one checkpoint, by the name of the table."""
        return {
            "replies": self.replies(run, step, adapter),
            "capability": self.answers(run, step, adapter),
        }

    @torch.inference_mode()
    def _model_with(self, adapter: Path | None) -> PreTrainedModel:
        """The base, or a copy of it into whose weights an adapter of plain LoRA is merged.

        As `grounded.generate.attach`, bit for bit, on one copy that is kept: fifty adapters a run
        are asked, and PEFT takes longer to put one on than the model to answer.
        """
        if adapter is None:
            return self._base
        scale = factors.scaling(adapter)
        for name, one in factors.read(adapter).items():
            weight = self._base.get_submodule(name).weight
            self._tuned.get_submodule(name).weight.copy_(weight + (one.b @ one.a) * scale)
        return self._tuned

    def _prefix(self, run: Run) -> str:
        return PREFIXES[TEST_PROMPTS[run.method]] if run.method in TEST_PROMPTS else ""
