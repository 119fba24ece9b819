"""What checkpoints of real models reply to safety prompts, and how many items they answer rightly.

With `generation.server` a server replies: one that lists the base model under its name in the
study, and each checkpoint as `<run>@<step>`, such as

    vllm serve FOLDER --served-model-name NAME --enable-lora --lora-modules RUN@STEP=ADAPTER ...

What is scored by likelihood, and what the harness asks, is asked of the model on this machine all
the same.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from transformers import (
    AutoTokenizer,
    ContinuousBatchingConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from grounded import fingerprint
from grounded.errors import GroundedError
from grounded.generate import Reply
from grounded.public import (
    capability,
    data,
    devices,
    kinds,
    memory,
    models,
    thoughts,
    weights,
    whole,
)
from grounded.public.asking import Asking
from grounded.public.harness import Harness, installed
from grounded.public.prefixes import PREFIXES
from grounded.public.replies import Engine
from grounded.public.served import Server
from grounded.records.schemas import STRIDE
from grounded.study import BASE, UNTAUGHT, Run, Study
from grounded.study.methods import TEST_PROMPTS

BY_LIKELIHOOD = ("choice", "reference")  # measures that no server can take part in


@dataclass(frozen=True)
class Checkpoint:
    """Which weights answer: the model of a folder, an adapter on it; and what a server calls it."""

    model: Path
    adapter: Path | None
    served: str


class Worn(NamedTuple):
    """A model that wears an adapter or none."""

    engine: Engine
    model: PreTrainedModel
    words: PreTrainedTokenizerBase


class Asker:
    """Asks the checkpoints of one base model; the model is loaded once, when first needed."""

    def __init__(self, study: Study, model: str) -> None:
        """GroundedError where the data, the model's files or the server cannot be had."""
        self.study, self._name = study, model
        self._setting, self._generation = study.public_model(model), study.generation
        self._base = models.folder(study, model)
        self._prompts = {name: data.prompts(study, name) for name in study.benchmarks}
        self._tasks = {name: data.task(study, name, 0) for name in study.tasks}
        self._how = Asking(self._generation.max_new_tokens, self._setting.template)
        words = AutoTokenizer.from_pretrained(
            self._base, local_files_only=True, trust_remote_code=False
        )
        self._template = fingerprint.text(str(words.chat_template))
        self._tags = thoughts.of(study)
        self._opened = thoughts.opened(words, self._setting.template, self._setting.thoughts)
        self._server = self._find_server()
        self._harness = Harness(study) if study.harness else None
        self._here: tuple[Path, Worn] | None = None
        self._worn: Path | None = None  # the adapter on it

    @property
    def facts(self) -> dict[str, Any]:
        """What is the same for all replies, for the record."""
        device, dtype = devices.of(self._setting)
        return {
            "dtype": str(dtype).removeprefix("torch."),
            "device": device.type,
            "template": self._template,
            "template_options": dict(self._setting.template),
            "engine": "server" if self._server else "transformers",
            **({"lm_eval": installed()} if self._harness else {}),
        }

    def ask(self, run: Run, step: int, adapter: Path | None) -> dict[str, pd.DataFrame]:
        """The rows of `replies` and `capability` of one checkpoint; without adapter, the base.

        The truth is not known; a reply's kind is, to the prompt as its benchmark has it.
        GroundedError for an adapter that does not fit, a model that is no longer the one given,
        logits that are not numbers, or a server that fails.
        """
        one = Checkpoint(self._base, None, self._name)
        if adapter is not None:
            target = whole.target(self.study, adapter)
            served = f"{run.id}@{step}"
            one = Checkpoint(target or self._base, None if target else adapter, served)
        prefix = PREFIXES[TEST_PROMPTS[run.method]] if run.method in TEST_PROMPTS else ""
        at = {"run": run.id, "step": step}
        replies, answers = [], []
        for benchmark, sample in product(self._prompts, range(self._generation.samples)):
            prompts, how = self._prompts[benchmark], self._sampled(sample)
            said = self._reply(one, [prefix + prompt.text for prompt in prompts], benchmark, how)
            shown = thoughts.answers([given.text for given in said], self._tags)
            for prompt, given, answer in zip(prompts, said, shown, strict=True):
                replies.append(
                    {"benchmark": benchmark, "prompt": prompt.id + STRIDE * sample, **at,
                     "text": given.text, "finish": given.finish, "tokens": given.tokens,
                     "truth": None, "truth_harm": None, "truth_fulfilled": None,
                     "kind": kinds.kind(prompt.text, answer)}
                )  # fmt: skip
        for name in self._tasks if run.task == BASE else (run.task,):
            task = self._tasks[name]
            words = self.study.tasks[name].max_new_tokens or self._generation.max_new_tokens
            able = self._able(one, task.measure, words)
            asked = {name: task.test}
            if task.untaught and run.task != BASE:  # to the base model all facts are untaught
                asked[UNTAUGHT.format(name)] = task.untaught
            for part, items in asked.items():
                rows = capability.measure(able, task, items, prefix)
                for number, row in enumerate(rows):
                    answers.append({"task": part, "item": number, **at, **row._asdict()})
        if self._harness is not None:
            worn = self._wearing(one)
            beside = self._harness.measure(worn.model, worn.words, self._setting)
            answers += [{**at, **row._asdict()} for row in beside]
        return {"replies": pd.DataFrame(replies), "capability": pd.DataFrame(answers)}

    def _find_server(self) -> Server | None:
        setting = self._generation.server
        if setting is None:
            return None
        if not self._generation.chat:
            raise GroundedError(
                "generation.chat: found false, wanted true: a server writes the chat template"
            )
        server = Server(setting.url, setting.concurrency, setting.timeout, setting.retries)
        if self._name not in (listed := server.models()):
            raise GroundedError(
                f"{server.shown}: found models {', '.join(listed[:5]) or 'none'}, wanted "
                f"{self._name} among them, and <run>@<step> for each checkpoint"
            )
        return server

    def _sampled(self, sample: int) -> Asking:
        """How replies to safety prompts are asked for: greedily, or by the seed of a number."""
        if self._generation.temperature is None:
            return self._how
        seed = self._generation.seeds[sample]
        return replace(self._how, temperature=self._generation.temperature, seed=seed)

    def _reply(
        self, one: Checkpoint, prompts: Sequence[str], label: str, how: Asking | None = None
    ) -> list[Reply]:
        """A reply to each prompt, whole: with the thought that the chat template opens."""
        label, (opening, _) = f"{one.served} {label}", self._setting.thoughts
        how = how or self._how
        said = [
            given if given.text.lstrip().startswith(opening)
            else replace(given, text=self._opened + given.text)
            for given in self._asked(one, prompts, label, how)
        ]  # fmt: skip
        texts = [given.text for given in said]
        if number := thoughts.unclosed(texts, self._tags):
            print(
                f"{label}: {number} of {len(said)} replies are thoughts without an end within "
                f"{how.max_new_tokens} tokens; their answers count as empty",
                file=sys.stderr,
            )
        return said

    def _asked(
        self, one: Checkpoint, prompts: Sequence[str], label: str, how: Asking
    ) -> list[Reply]:
        if self._server:
            return self._server.reply(one.served, prompts, how, label=label)
        on_gpu = devices.best()[0].type == "cuda"
        continuous = ContinuousBatchingConfig() if self._generation.continuous and on_gpu else None
        return self._wearing(one).engine.reply(prompts, how, continuous=continuous, label=label)

    def _able(self, one: Checkpoint, measure: str, words: int) -> capability.Answering:
        if self._server is None or measure in BY_LIKELIHOOD:
            worn, about = self._wearing(one), self._setting
            told = self._generation, about.template, about.thoughts
            return capability.answering(worn.model, worn.words, *told, most=words)

        def reply(prompts: Sequence[str]) -> list[str]:
            how = replace(self._how, max_new_tokens=words)
            said = [given.text for given in self._reply(one, prompts, "items", how)]
            return thoughts.answers(said, self._tags)

        return capability.Answering(reply, None, None, True, self._setting.template)

    def _wearing(self, one: Checkpoint) -> Worn:
        """The model of a checkpoint, loaded unless it is; the one before it has to go."""
        if self._here is None or self._here[0] != one.model:
            self._here = None
            memory.free()
            device, dtype = devices.of(self._setting)
            model, words = weights.load(one.model, dtype)
            model = model.to(device)
            engine = Engine(model, words, self._generation.batch_size)
            self._here, self._worn = (one.model, Worn(engine, model, words)), None
        _, worn = self._here
        if self._worn != one.adapter:
            self._worn = None  # the base again, should the adapter not fit
            worn.engine.wear(one.adapter)
            self._worn = one.adapter
        return worn
