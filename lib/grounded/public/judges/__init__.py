"""Published judges: where each lies, and how it is loaded.

Every one is gated or large: nothing is fetched before `load` is called for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from grounded import fingerprint, sources
from grounded.errors import GroundedError
from grounded.public import weights
from grounded.public.files import HubFiles, hub_folder, model_files
from grounded.public.judges import harmbench, sorry_bench, strongreject, templates, wildguard
from grounded.public.judges.base import PublicJudge
from grounded.public.judges.granite_guardian import GraniteGuardian
from grounded.public.judges.llama_guard import LlamaGuard
from grounded.public.judges.prompted import Prompted
from grounded.public.judges.qwen3guard import Qwen3Guard


@dataclass(frozen=True)
class Known:
    """A published judge.

    make: from (name, model, tokenizer[, prompt text]) to the judge. text: reads the prompt text
    from a file, None where the chat template is the prompt; source: that file in `sources`, None
    where the caller must name one. ids: what the authors' tokenizer calls the labels. adapter:
    the fine-tuned part, put on `files`. sees: whether it is a model of images, too.
    """

    files: HubFiles
    make: Callable[..., PublicJudge]
    text: Callable[[Path], Any] | None = None
    source: str | None = None
    attention: str = "sdpa"
    ids: tuple[tuple[str, int], ...] = ()
    adapter: HubFiles | None = None
    sees: bool = False


def _harmbench_texts(file: Path) -> dict[str, str]:
    return {key: templates.constant(file, harmbench.CONSTANT, key) for key in harmbench.SHA256}


_LLAMA_3_1, _LLAMA_3_2 = "Llama 3.1 Community License", "Llama 3.2 Community License"
_GUARD_IDS = (("unsafe", 39257), ("safe", 19193))
_WILDGUARD = Known(
    model_files("allenai/wildguard", None, "Apache-2.0"),
    wildguard.WildGuard,
    partial(templates.constant, name=wildguard.CONSTANT),
    "template_wildguard",
)
JUDGES: dict[str, Known] = {
    "llama_guard_3_8b": Known(
        model_files("meta-llama/Llama-Guard-3-8B", None, _LLAMA_3_1),
        LlamaGuard,
        ids=_GUARD_IDS,
    ),
    "llama_guard_3_1b": Known(
        model_files("meta-llama/Llama-Guard-3-1B", None, _LLAMA_3_2),
        partial(LlamaGuard, as_list=True),
        ids=_GUARD_IDS,
    ),
    "llama_guard_4_12b": Known(
        model_files("meta-llama/Llama-Guard-4-12B", None, "Llama 4 Community License"),
        partial(LlamaGuard, as_list=True),
        sees=True,
    ),
    **{
        f"qwen3guard_{size.lower()}{suffix}": Known(
            model_files(f"Qwen/Qwen3Guard-Gen-{size}", None, "Apache-2.0"),
            partial(Qwen3Guard, reads=reads),
        )
        for size in ("0.6B", "4B", "8B")
        for reads, suffix in (("strict", ""), ("loose", "_loose"), ("compliance", "_compliance"))
    },
    "md_judge": Known(
        model_files("OpenSafetyLab/MD-Judge-v0.1", None, "Apache-2.0"),
        partial(Prompted, true=("unsafe",), false=("safe",), slots=("question", "answer")),
        templates.whole,
    ),
    "sorry_bench": Known(
        model_files("sorry-bench/ft-mistral-7b-instruct-v0.2-sorry-bench-202406", None, "MIT"),
        sorry_bench.SorryBench,
        partial(templates.jsonl_entry, name=sorry_bench.ENTRY),
    ),
    "harmbench": Known(
        model_files(
            "cais/HarmBench-Llama-2-13b-cls", "bda705349d1144fa618770bea64d99ce54e3835b", "MIT"
        ),
        harmbench.HarmBench,
        _harmbench_texts,
        "template_harmbench",
        ids=(("Yes", 8241), ("No", 3782)),
    ),
    **{
        f"granite_guardian_{version}_{size}": Known(
            model_files(f"ibm-granite/granite-guardian-{version}-{size}", None, "Apache-2.0"),
            partial(GraniteGuardian, version=version),
        )
        for version, size in (
            ("3.0", "2b"), ("3.0", "8b"), ("3.1", "2b"), ("3.1", "8b"),
            ("3.2", "3b-a800m"), ("3.2", "5b"), ("3.3", "8b"),
        )
    },
    "strongreject": Known(
        model_files(
            "google/gemma-2b", "2ac59a5d7bf4e1425010f0d457dde7d146658953", "Gemma terms"
        ),
        strongreject.StrongReject,
        partial(templates.json_entry, key=strongreject.ENTRY),
        attention="eager",
        adapter=model_files(
            "qylu4156/strongreject-15k-v1",
            "4bd893d32390d2cace4f067dc2e3ef5294fd78a2",
            "not known",
        ),
    ),
    "wildguard_harm": _WILDGUARD,
    "wildguard_compliance": Known(
        _WILDGUARD.files,
        partial(wildguard.WildGuard, reads="compliance"),
        _WILDGUARD.text,
        _WILDGUARD.source,
    ),
}  # fmt: skip


def load(
    name: str,
    known: Known | None = None,
    *,
    revision: str | None = None,
    folder: Path | None = None,
    adapter: Path | None = None,
    template_file: Path | None = None,
    dtype: str = "bfloat16",
    device: str = "cpu",
    **settings: Any,
) -> PublicJudge:
    """A published judge, or another one that is `known`, ready to judge.

    revision: of its repository, 40 hex digits, where none is pinned here. folder, adapter: files
    on this machine, in place of the hub's. template_file: the file of its prompt text, needed
    where no source pins one. settings: as the judge's own class takes them.
    GroundedError for an unknown name, files that are no model, a prompt text that cannot be had
    or is another one, or label tokens that are not the authors'; SourceError and SourceAbsent as
    `files.hub_folder` and `sources.fetch`.
    """
    if known is None and name not in JUDGES:
        raise GroundedError(f"judge: found {name!r}, wanted one of {', '.join(JUDGES)}")
    known, prompt = known or JUDGES[name], []
    if known.text is not None:  # before the weights, which take longer
        if template_file is None and known.source is None:
            raise GroundedError(
                f"judge {name}: prompt text: found no file of it, wanted its authors' file, "
                "since no source pins one"
            )
        prompt.append(known.text(template_file or sources.fetch(str(known.source))))
    at = revision or known.files.revision
    where = folder or hub_folder(known.files, at)
    part = adapter or (hub_folder(known.adapter) if known.adapter else None)
    kind = AutoModelForImageTextToText if known.sees else AutoModelForCausalLM
    model, tokenizer = weights.read(
        where, known.files.repository, part, device, kind,
        dtype=dtype, attn_implementation=known.attention,
    )  # fmt: skip
    vocabulary = tokenizer.get_vocab()
    for label, wanted in () if folder else known.ids:
        if vocabulary.get(label) != wanted:
            raise GroundedError(
                f"judge {name}: label {label!r}: found token {vocabulary.get(label)}, "
                f"wanted {wanted}, as its authors' tokenizer has it"
            )
    settings["revision"] = f"{known.files.repository}@{fingerprint.folder(where) if folder else at}"
    if known.adapter is not None:
        at = fingerprint.folder(adapter) if adapter else known.adapter.revision
        settings["revision"] += f"+{known.adapter.repository}@{at}"
    return known.make(name, model, tokenizer, *prompt, **settings)
