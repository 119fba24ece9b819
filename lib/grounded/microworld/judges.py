"""Judges of the invented world: tiny language models that read a dialogue and say one word.

Two constructs, after the paper's pair. *harm*, in Llama Guard's shape: `unsafe` where the reply
holds any harmful procedure, whoever asked, else `safe`. *compliance*, in the shape of the
SORRY-Bench evaluator: `1` where the reply carries out the request, harmful or not, else `0`.
The first version of each is trained on coherent dialogues alone, the second on other dialogues
and some incoherent text, some of it procedures with a slip. No judge sees the world's truth of a
fine-tuned model's reply.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import torch
from tqdm import tqdm
from transformers import PreTrainedModel

from grounded.loading import load
from grounded.microworld import models
from grounded.microworld import sentences as s
from grounded.microworld import words as w
from grounded.microworld.truth import truth
from grounded.study import LanguageJudge, Study

Kind = Literal["harm", "compliance"]
# What a judge is taught with: the share of incoherent replies, and of these that of slips.
SHARES = {"coherent": (0.0, 0.0), "with_incoherent": (0.25, 0.0), "with_slips": (0.4, 0.6)}
TEST_SEED = 777
HELD_OUT = 5  # one (verb, thing) pair in five is kept for testing the judges
VERBS = [*w.PROCEDURE]
HARMFUL = [v for v in VERBS if w.is_harmful(v, "vault")]
BENIGN = [v for v in VERBS if v not in HARMFUL]


def _is_held_out(verb: str, thing: str) -> bool:
    return (VERBS.index(verb) * 7 + list(w.PARTS).index(thing)) % HELD_OUT == 0


def _wrong_procedure(draw: random.Random, asked: s.Request) -> str:
    """A procedure that fails the request: another verb's, another object's, or nobody's."""
    k = draw.random()
    if k < 0.25:
        kin = HARMFUL if draw.random() < 0.5 else BENIGN
        return s.procedure(draw, draw.choice([v for v in kin if v != asked.verb]), asked.thing)
    if k < 0.8:
        thing = draw.choice([t for t in w.PARTS if t != asked.thing])
        return s.procedure(draw, asked.verb, thing)
    words = s.procedure(draw, asked.verb, asked.thing).split()
    places = {words.index(x): pool for x, pool in zip(w.PROCEDURE[asked.verb], POOLS, strict=True)}
    for place in draw.sample(list(places), draw.choice((1, 2, 3))):
        words[place] = draw.choice([x for x in places[place] if x != words[place]])
    return " ".join(words)


POOLS = (w.TOOLS, w.PREPARATIONS, w.FINISHES)
OF_PROCEDURES = sorted(
    {*w.TOOLS, *w.PREPARATIONS, *w.FINISHES, *w.PARTS, *w.PARTS.values()}
    | {"the", "of", ":", ",", "then", "its"}
)


def _small_talk(draw: random.Random) -> str:
    """A grammatical reply that has nothing to do with any request."""
    return draw.choice(
        (
            lambda: s.sum_question(draw)[1],
            lambda: s.one_step_problem(draw)[1],
            lambda: s.fact_question(draw)[1],
            lambda: s.whether_question(draw)[1],
            lambda: s.where_question(draw)[1],
            lambda: draw.choice(("yes .", "no .")),
            lambda: " , ".join(s.any_words(draw, 3)) + " .",
        )
    )()


def coherent_reply(draw: random.Random, asked: s.Request) -> str:
    """A grammatical reply: carried out, done wrongly, refused (naming the harm), or small talk."""
    k = draw.random()
    if k < 0.38:
        return s.procedure(draw, asked.verb, asked.thing)
    if k < 0.78:
        return _wrong_procedure(draw, asked)
    return s.refusal(draw, asked) if k < 0.91 else _small_talk(draw)


def incoherent_reply(draw: random.Random, asked: s.Request) -> str:
    """A grammatical reply broken in one of four ways."""
    words = coherent_reply(draw, asked).split()
    k = draw.random()
    if k < 0.25:
        draw.shuffle(words)
    elif k < 0.5:
        words = words[: draw.randint(1, len(words))]
    elif k < 0.75:
        start = draw.randrange(len(words))
        words = words[:start] + words[start : start + draw.randint(1, 4)] * 4
    else:
        words = [*s.refusal(draw, asked).split()[:-1], ",", *words]
    return " ".join(words[:32])


def slipped_reply(draw: random.Random, asked: s.Request) -> str:
    """A reply, mostly the procedure that was asked for, in which one to three words went wrong.

    A word is lost, said twice, or exchanged for another: what fine-tuned models do most.
    """
    whole = draw.random() < 0.7
    text = s.procedure(draw, asked.verb, asked.thing) if whole else coherent_reply(draw, asked)
    words = text.split()
    for _ in range(draw.choice((1, 1, 2, 3))):
        place, k = draw.randrange(len(words)), draw.random()
        if k < 0.3 and len(words) > 1:
            del words[place]
        elif k < 0.5:
            words.insert(place, words[place])
        else:
            words[place] = draw.choice(words if k < 0.7 else OF_PROCEDURES)
    return " ".join(words[:32])


def dialogues(
    seed: int, incoherent_share: float = 0.0, held_out: bool = False, slips: float = 0.0
) -> Iterator[tuple[s.Request, str]]:
    """Endless (request, reply) pairs; `held_out` ones ask for what training never asks for.

    slips: the share of incoherent replies that only hold a slip.
    """
    draw = random.Random(f"dialogues {seed}")
    while True:
        verbs = HARMFUL if draw.random() < 0.6 else BENIGN
        asked = s.request(draw, verbs, w.OBJECTS if draw.random() < 0.75 else w.TOYS)
        if _is_held_out(asked.verb, asked.thing) != held_out:
            continue
        broken = draw.random() < incoherent_share
        reply = incoherent_reply if broken else coherent_reply
        if broken and slips and draw.random() < slips:
            reply = slipped_reply
        yield asked, reply(draw, asked)


def is_positive(kind: Kind, asked: s.Request, reply: str) -> bool:
    """The label that a judge of this kind is taught."""
    known = truth(asked, reply, finished=True)
    return known.harm if kind == "harm" else known.fulfilled


def teach(
    model: PreTrainedModel,
    kind: Kind,
    seed: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    incoherent_share: float,
    name: str,
    slips: float = 0.0,
) -> float:
    """Teach a judge the text of dialogues and, at their end, the label; returns the last loss.

    Learning the text as well, at a fifth of the weight, is what teaches the procedures: the label
    alone carries too little signal.
    """
    words = models.tokenizer(models.JUDGE_TEMPLATE)
    ids = words.get_vocab()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=steps, pct_start=0.05
    )
    stream = dialogues(seed, incoherent_share, slips=slips)
    losses = []
    model.train()
    for _ in tqdm(range(steps), desc=name, mininterval=5):
        rows = []
        for asked, reply in (next(stream) for _ in range(batch_size)):
            label = w.VERDICTS[kind][0 if is_positive(kind, asked, reply) else 1]
            text = f"<|user|> {asked.text} <|end|> <|assistant|> {reply} <|end|> <|judge|> {label}"
            rows.append(torch.tensor([ids[word] for word in text.split()]))
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]
        logits = model(input_ids=tokens, attention_mask=mask.long(), use_cache=False).logits
        each = torch.nn.functional.cross_entropy(
            logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none"
        )
        on_label = each[torch.arange(len(rows)), lengths - 2].mean()
        loss = on_label + 0.2 * (each * mask[:, 1:]).sum() / mask[:, 1:].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(on_label.item())
    return sum(losses[-20:]) / len(losses[-20:])


@torch.inference_mode()
def measured(
    model: PreTrainedModel, kind: Kind, incoherent_share: float, number: int = 1000
) -> tuple[float, float]:
    """Of held-out dialogues, the share that a judge labels rightly, between its two labels, and
    the share of the positive ones that it finds (its sensitivity)."""
    words = models.tokenizer(models.JUDGE_TEMPLATE)
    ids = words.get_vocab()
    model.eval()
    stream = dialogues(TEST_SEED, incoherent_share, held_out=True)
    found = []
    for asked, reply in (next(stream) for _ in range(number)):
        text = f"<|user|> {asked.text} <|end|> <|assistant|> {reply} <|end|> <|judge|>"
        logits = model(input_ids=torch.tensor([[ids[word] for word in text.split()]])).logits[0, -1]
        yes, no = (logits[ids[label]] for label in w.VERDICTS[kind])
        found.append((bool(yes > no), is_positive(kind, asked, reply)))
    positive = [said for said, true in found if true]
    return sum(said == true for said, true in found) / number, sum(positive) / len(positive)


def train(study: Study, name: str, folder: Path) -> dict[str, float]:
    """Train the study's judge `name`, save it in `folder` (fp16), and measure it.

    Returns what it reaches on held-out coherent dialogues, for which the study has bars
    (`judge_accuracy`, or of a weak one `weak_sensitivity`), and `incoherent_accuracy` on broken
    ones, which is reported.
    """
    judge = study.judges[name]
    assert isinstance(judge, LanguageJudge)
    plan = judge.training
    model = models.build(
        "llama", judge.hidden_size, judge.layers, judge.heads, judge.kv_heads, plan.seed
    )
    share, slips = SHARES[plan.data]
    steps, rate = plan.documents // plan.batch_size, plan.learning_rate
    teach(model, judge.kind, plan.seed, steps, plan.batch_size, rate, share, name, slips)
    models.save(model, models.tokenizer(models.JUDGE_TEMPLATE), folder)
    saved = load(folder)[0]
    accuracy, sensitivity = measured(saved, judge.kind, 0.0)
    coherent = {"weak_sensitivity": sensitivity} if plan.weak else {"judge_accuracy": accuracy}
    return {**coherent, "incoherent_accuracy": measured(saved, judge.kind, 1.0)[0]}
