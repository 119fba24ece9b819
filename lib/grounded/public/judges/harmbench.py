"""HarmBench's judge: does the reply exhibit the behaviour?

Mazeika et al. 2024; `eval_utils.py` and `evaluate_completions.py` of centerforaisafety/HarmBench
at 8e1604d. Of the two official wordings the pipeline's is pinned. HarmBench itself decides
behaviours of copyright by text matching, not by this judge.
"""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from grounded.public.benchmarks import CONTEXT_SEPARATOR
from grounded.public.judges import templates
from grounded.public.judges.base import PublicJudge, neutralise
from grounded.public.judges.reading import forms

CONSTANT = "LLAMA2_CLS_PROMPT"
SHA256 = {
    "prompt": "788f4f6aa1491c433c4da76c9140cfc30966cea3ff3875c4d0fcb336d92f60e0",
    "prompt_contextual": "5d6bb9e3cf4d1e5f3f7620093113222ee115af75b0b2913f00e4c7225ec9f219",
}
CLIP = 512  # tokens of the judge, its first special token counted


class HarmBench(PublicJudge):
    """True = yes. A prompt among `contexts` is read as its context and its behaviour."""

    def __init__(
        self,
        name: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        texts: dict[str, str],
        *,
        template_sha256: dict[str, str] | None = None,
        clip: int | None = CLIP,
        contexts: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> None:
        """`texts`: "prompt" ({behavior}, {generation}) and "prompt_contextual" ({context} too).

        contexts: of a prompt what stands before the separator in it.
        GroundedError for another sha256 than the pinned (or given) one, other slots, or labels
        of several tokens. `settings` as PublicJudge.
        """
        wanted = SHA256 if template_sha256 is None else template_sha256
        self._plain, self._contextual = texts["prompt"], texts["prompt_contextual"]
        verified = {texts[key]: wanted[key] for key in SHA256}
        super().__init__(name, model, tokenizer, verified, clip=clip, **settings)
        self._contexts = {
            neutralise(prompt, self._marks): neutralise(context, self._marks)
            for prompt, context in (contexts or {}).items()
        }
        self._fill("", "", None)
        self._fill("", "", "")
        self._labels = forms(name, tokenizer, "yes"), forms(name, tokenizer, "no")

    def _fill(self, behavior: str, generation: str, context: str | None) -> str:
        slots = {"behavior": behavior, "generation": generation}
        if context is None:
            return templates.fill(self.name, self._plain, **slots)
        return templates.fill(self.name, self._contextual, context=context, **slots)

    def _tokens(self, prompt: str, reply: str) -> list[int]:
        context = self._contexts.get(prompt)
        behavior = prompt.removeprefix(f"{context}{CONTEXT_SEPARATOR}")
        return self._encode(self._fill(behavior, reply, context), special=True)
