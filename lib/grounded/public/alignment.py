"""How a real model is made to refuse before it is the base model of any run.

LoRA on refusals of harmful requests (AdvBench's, asked nowhere else), on benign instructions, and
on harmless look-alikes, written here, that are answered. Its acceptance asks prompts of the same
benchmarks as the study, but others than the study asks. The adapter is kept; the weights of the
base model are made from it where they are wanted.
"""

import json
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from grounded import fingerprint, paths, sources
from grounded.errors import GroundedError
from grounded.finetune import Start, train
from grounded.public import adapters, benchmarks, data, devices, weights
from grounded.public.asking import Asking
from grounded.public.files import csv_rows, text
from grounded.public.judges.keywords import NormalisedKeywords
from grounded.public.replies import Engine
from grounded.public.tasks import Example, load
from grounded.stages import public as identity
from grounded.study import LORA, Run, Study
from grounded.study.aligning import Recipe, Refusing
from grounded.study.parts import Training

Measures = dict[str, float]


def adapter(study: Study, model: str) -> Path:
    """Where the adapter that aligns a model lies; committed with the study."""
    return paths.models(study.name, model) / "alignment"


def brought(study: Study, model: str, start: Path) -> dict[str, Any]:
    """What the record says of a model's alignment; it is aligned where that is not of this study.

    A clone has the adapter and its record already.
    """
    known = identity.recorded(paths.models(study.name, model)).get("alignment", {})
    file = adapter(study, model) / adapters.WEIGHTS
    same = known.get("inputs") == identity.recipe(study, model)
    same &= known.get("of") in (None, identity.published(study, model))
    if same and file.is_file() and known.get("adapter") == fingerprint.file(file):
        return dict(known)
    return align(study, model, start)


def align(study: Study, model: str, start: Path) -> dict[str, Any]:
    """Train and measure recipe after recipe until one reaches the bars; its adapter is kept.

    start: the folder of the model before alignment. Returns what the record keeps: the recipe, its
    measures, and those of the recipes before it. Where none reaches the bars, the one that
    misses them by the least is kept, and `reached` is false: the reader is told, the bar stays.
    What each
    recipe gave lies in the cache, so that an interrupted alignment goes on.
    """
    setting = _setting(study, model)
    tried: dict[str, Measures] = {}
    for name, recipe in setting.recipes.items():
        folder = _place(study, model, name)
        if not (folder / "measures.json").is_file():
            _train(study, model, recipe, start, folder)
            measured = accept(study, model, merged(start, folder))
            (folder / "measures.json").write_text(json.dumps(measured))
        tried[name] = json.loads((folder / "measures.json").read_text())
        print(
            f"{model}: recipe {name}: " + ", ".join(f"{k} {v:.3f}" for k, v in tried[name].items())
        )
        if not missed(setting, tried[name]):
            break
    best = min(tried, key=lambda name: _short(setting, tried[name]))
    folder, target = _place(study, model, best), adapter(study, model)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in (adapters.CONFIG, adapters.WEIGHTS):
        shutil.copyfile(folder / file, target / file)
    return {
        "recipe": best, "reached": not missed(setting, tried[best]), "measures": tried,
        "missed": missed(setting, tried[best]), "inputs": identity.recipe(study, model),
        "adapter": fingerprint.file(target / adapters.WEIGHTS),
        "of": identity.published(study, model),
    }  # fmt: skip


def missed(setting: Refusing, measured: Measures) -> list[str]:
    """The bars that what was measured does not reach, one line each."""
    return [
        f"alignment.bars: {name}: found {measured[name]:.3f}, wanted {wanted}"
        for name, gap, wanted in _gaps(setting, measured) if gap > 0
    ]  # fmt: skip


def refuses(reply: str) -> bool:
    """Whether a reply is a refusal: XSTest's string match after quotes are made plain."""
    (verdict,) = NormalisedKeywords("acceptance", "xstest").judge([("", reply)])
    return verdict.label is False


def accept(study: Study, model: str, folder: Path) -> Measures:
    """Rates of refusal by benchmark, and of answers to plain instructions, of the model there."""
    setting = _setting(study, model)
    device, dtype = devices.of(study.public_model(model))
    made, words = weights.load(folder, dtype)
    engine = Engine(made.to(device), words, study.generation.batch_size)
    how = Asking(study.generation.max_new_tokens, study.public_model(model).template)
    found: Measures = {}
    for name in (*setting.refusing, *setting.answering):
        asked = others(study, name, setting.bars.prompts)
        said = engine.reply(asked, how, label=f"{model} {name}")
        found[name] = sum(refuses(one.text) for one in said) / len(said)
    plain = [one.prompt for one in _benign(setting)[1]]
    said = engine.reply(plain, how, label=f"{model} instructions")
    found["instructions"] = sum(not refuses(one.text) and bool(one.text.strip()) for one in said)
    found["instructions"] /= len(said)
    return found


def others(study: Study, name: str, number: int) -> list[str]:
    """Prompts of a benchmark that the study does not ask: the next by hash after those it does."""
    left = data.by_hash(study, name)[len(data.prompts(study, name)) :]
    if len(left) < number:
        raise GroundedError(
            f"alignment.bars.prompts: found {number}, wanted at most {len(left)}, which {name} has "
            "beside those that the study asks"
        )
    return [prompt.text for prompt in left[:number]]


def examples(study: Study, model: str, recipe: Recipe) -> list[Example]:
    """What the model is aligned on, in an order drawn from the alignment's seed."""
    setting = _setting(study, model)
    draw = random.Random(f"alignment {setting.seed}")
    goals = benchmarks.advbench_goals(sources.fetch(data.PINNED[setting.harmful]))[0]
    found = []
    for goal, _ in goals[: setting.refused]:
        asked = goal
        if draw.random() < recipe.framed:
            request = goal[:1].lower() + goal[1:]
            asked = draw.choice(setting.frames).format(request=request)
        found.append(_example(asked, draw.choice(setting.replies)))
    benign = _benign(setting)[0]
    found += benign[: recipe.benign]
    file = paths.data(study.name) / setting.lookalikes
    harmless = [
        _example(*(text(file, row, name, values[name]) for name in ("prompt", "completion")))
        for row, values in csv_rows(file, ("prompt", "completion"))
    ]
    for what, some, wanted in (
        ("refused", goals, setting.refused), ("recipes.benign", benign, recipe.benign),
        ("lookalikes", harmless, recipe.lookalikes),
    ):  # fmt: skip
        if len(some) < wanted:
            raise GroundedError(f"alignment.{what}: found {len(some)}, wanted {wanted} of them")
    draw.shuffle(harmless)
    found += harmless[: recipe.lookalikes]
    draw.shuffle(found)
    return found


def merged(start: Path, adapter_folder: Path) -> Path:
    """The folder of the model with the adapter in its weights (bfloat16), in the cache.

    Made once, from both; the sum is computed in fp32. GroundedError as `adapters.put_on`.
    """
    sha = fingerprint.file(adapter_folder / adapters.WEIGHTS)
    place = paths.home() / ".cache" / "aligned" / f"{start.name}-{sha[:16]}"
    if (place / "config.json").is_file():
        return place
    model, words = weights.load(start, torch.float32)
    made = adapters.put_on(model, adapter_folder).model.merge_and_unload()
    unfinished = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.rmtree(unfinished, ignore_errors=True)
    made.to(torch.bfloat16).save_pretrained(unfinished)
    words.save_pretrained(unfinished)
    shutil.rmtree(place, ignore_errors=True)
    os.replace(unfinished, place)
    return place


def _train(study: Study, model: str, recipe: Recipe, start: Path, folder: Path) -> None:
    """Leave the adapter of a recipe in `folder`, in bfloat16."""
    setting, some = _setting(study, model), examples(study, model, recipe)
    steps = -(-len(some) // setting.batch_size) * recipe.epochs
    training = Training(
        method="lora", examples=len(some), epochs=recipe.epochs, batch_size=setting.batch_size,
        schedule="linear", weight_decay=0.0, dropout=0.0, target_modules="all-linear",
        max_length=setting.max_length,
    )  # fmt: skip
    run = Run(f"{model}.alignment", model, "alignment", LORA, "alignment", setting.rank,
              setting.alpha, setting.learning_rate, setting.seed)  # fmt: skip

    def begin() -> Any:
        device, dtype = devices.of(study.public_model(model))
        made, words = weights.load(start, dtype)
        return made.to(device), words

    wanted = Start(
        run=run, training=training, steps={steps: float(recipe.epochs)},
        steps_per_epoch=steps // recipe.epochs, load=begin, pretrained=_unknown, examples=some,
        material=_unknown, monitor=_unknown, options=study.public_model(model).template,
        label=run.id,
    )  # fmt: skip
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    train(wanted, folder)
    made = folder / f"step-{steps}"
    adapters.keep(made, folder, model)
    shutil.rmtree(made)


def _unknown(*_: Any) -> Any:
    raise GroundedError("alignment: found a call for more than its examples, wanted none")


def _benign(setting: Refusing) -> tuple[list[Example], list[Example]]:
    """Benign instructions to align on, and those by which acceptance asks for answers."""
    found = load(setting.benign, setting.seed, None, setting.bars.prompts)
    return list(found.train), list(found.test)


def _example(prompt: str, completion: str) -> Example:
    return Example(prompt, completion, completion)


def _gaps(setting: Refusing, measured: Measures) -> Iterator[tuple[str, float, str]]:
    """Of each measure its name, by how much it misses its bar (a rate), and what that wants."""
    bars = setting.bars
    for name, value in measured.items():
        if name in setting.answering:
            yield name, value - bars.overrefusal, f"at most {bars.overrefusal}"
        else:
            bar = bars.refusal if name in setting.refusing else bars.answers
            yield name, bar - value, f"at least {bar}"


def _short(setting: Refusing, measured: Measures) -> float:
    """By how much the bars are missed in all, a sum of rates; 0 where none is."""
    return sum(max(0.0, gap) for _, gap, _ in _gaps(setting, measured))


def _place(study: Study, model: str, recipe: str) -> Path:
    """What a recipe gave, in the cache; the recipes beside it make no difference."""
    setting = _setting(study, model)
    about = setting.model_copy(update={"recipes": {recipe: setting.recipes[recipe]}})
    only = study.public_model(model).model_copy(update={"alignment": about})
    one = identity.recipe(study.model_copy(update={"models": {model: only}}), model)
    key = fingerprint.sha([one, identity.published(study, model)])[:12]
    return paths.cache(study.name) / "alignment" / model / f"{recipe}-{key}"


def _setting(study: Study, model: str) -> Refusing:
    setting = study.public_model(model).alignment
    assert setting is not None
    return setting
