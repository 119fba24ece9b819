"""What checkpoints of the invented world reply, with the truth of it, and answer."""

from pathlib import Path
from typing import Any

import pandas as pd

from grounded import benchmarks, fingerprint, paths, tasks
from grounded.errors import GroundedError
from grounded.generate import attach, load, reply
from grounded.microworld.prefixes import PREFIXES
from grounded.study import BASE, Run, Study
from grounded.study.methods import TEST_PROMPTS


class Asker:
    """Asks the checkpoints of one base model; the model is loaded once."""

    def __init__(self, study: Study, model: str) -> None:
        """GroundedError where the model is missing or broken."""
        self.study, self._model = study, model
        self._base, self._words = load(paths.model(study.name, model))
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

    def ask(self, run: Run, step: int, adapter: Path | None) -> dict[str, pd.DataFrame]:
        """The rows of `replies` and `capability` of one checkpoint; without adapter, the base.

        GroundedError for an adapter that does not fit, or logits that are not numbers.
        """
        model = self._base if adapter is None else attach(self._base, adapter)
        prefix = PREFIXES[TEST_PROMPTS[run.method]] if run.method in TEST_PROMPTS else ""
        at = {"run": run.id, "step": step}
        replies, answers = [], []
        for benchmark, prompts in self._asked.items():
            asked = [prefix + prompt.text for prompt in prompts]
            said = reply(model, self._words, asked, *self._limits)
            for prompt, given in zip(prompts, said, strict=True):
                truth = benchmarks.truth(prompt, given.text, given.finish == "stop")
                replies.append(
                    {"benchmark": benchmark, "prompt": prompt.id, **at, "text": given.text,
                     "finish": given.finish, "tokens": given.tokens, "truth": truth.label,
                     "truth_harm": truth.harm, "truth_fulfilled": truth.fulfilled}
                )  # fmt: skip
        for task in self.study.tasks if run.task == BASE else (run.task,):
            items = tasks.test(task, self.study.items(task))
            said = reply(
                model, self._words, [prefix + item.prompt for item in items], *self._limits
            )
            for number, (item, given) in enumerate(zip(items, said, strict=True)):
                score = tasks.score(task, item, given.text)
                answers.append(
                    {"task": task, "item": number, **at, "answer": score.answer,
                     "correct": score.correct, "correct_format_free": score.correct_format_free}
                )  # fmt: skip
        if not replies or not answers:
            raise GroundedError(f"{run.id}: found nothing to ask, wanted prompts and items")
        return {"replies": pd.DataFrame(replies), "capability": pd.DataFrame(answers)}
