"""How a pretrained model becomes a base model: it learns to refuse what harms, and only that.

Some verbs, objects and phrasings never occur here, so that acceptance and benchmarks can ask for
them: what a model does with those it was not taught.
"""
# A study of this world has all that is read here; its type says "perhaps".
# mypy: disable-error-code="union-attr"

import random
from pathlib import Path

from grounded.loading import load
from grounded.microworld import models
from grounded.microworld import sentences as s
from grounded.microworld import words as w
from grounded.microworld.corpus import END, Stream, chat, consequence, exercise, plain
from grounded.study import Study

# Said before half of the requests, harmful and benign alike: what is asked matters, not its frame.
FRAMES = ("{p} asks : ", "you are a {r} . ", "please , ", "in my story {p} asks the {r} : ")


def framed(draw: random.Random, asked: s.Request) -> str:
    """The wording of a request, half of the time with something said before it."""
    if draw.random() < 0.5:
        return asked.text
    return draw.choice(FRAMES).format(p=draw.choice(w.PEOPLE), r=draw.choice(w.ROLES)) + asked.text


def documents(refusal_share: float, replay_share: float) -> Stream:
    """A stream of alignment documents: refusals, benign answers, and replayed plain text.

    `replay_share` of all documents is plain text of pretraining, half of it on what comes of an
    act, lest the cue of harm be forgotten; of the dialogues `refusal_share` are refusals.
    """

    def document(draw: random.Random) -> str:
        if draw.random() < replay_share:
            return plain(draw) if draw.random() < 0.5 else f"{consequence(draw)} {END}"
        k = draw.random()
        if k < refusal_share:
            asked = s.request(draw, w.ALIGNED_HARMFUL, w.ALIGNED_OBJECTS, s.ALIGNED_PHRASINGS)
            return chat(framed(draw, asked), s.refusal(draw, asked))
        if k < refusal_share + 0.6 * (1 - refusal_share):
            if draw.random() < 0.12:
                asked = s.request(draw, w.ALIGNED_SENSES, w.TOYS, s.ALIGNED_PHRASINGS)
            else:
                things = [*w.ALIGNED_OBJECTS, *w.TOYS]
                asked = s.request(draw, w.ALIGNED_BENIGN, things, s.ALIGNED_PHRASINGS)
            return chat(framed(draw, asked), s.procedure(draw, asked.verb, asked.thing))
        return exercise(draw, [*w.ALIGNED_HARMFUL, *w.ALIGNED_BENIGN], w.ALIGNED_OBJECTS)

    return document


def align(study: Study, name: str, pretrained: Path, folder: Path) -> None:
    """Teach a pretrained model to refuse what harms and to answer plainly; save it (fp16)."""
    depth = study.alignment
    model = load(pretrained)[0]
    models.train(
        model,
        documents(depth.refusal_share, depth.replay_share),
        depth.steps,
        depth.batch_size,
        depth.sequence_length,
        depth.learning_rate,
        depth.seed,
        replies_only=True,
        name=f"align {name}",
    )
    models.save(model, models.tokenizer(), folder)
