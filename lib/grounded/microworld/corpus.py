"""What the models are pretrained on.

The mix and its shares are ours; they were chosen for what the models must know, before any
fine-tuning run. A document is text that ends in `<|end|>`.
"""

import random
from collections.abc import Callable, Sequence

from grounded.microworld import sentences as s
from grounded.microworld import words as w

END = "<|end|>"
Stream = Callable[[random.Random], str]
VERBS = (*w.HARMFUL_VERBS, *w.BENIGN_VERBS)


def chat(prompt: str, reply: str) -> str:
    """One dialogue, as the chat template writes it."""
    return f"<|user|> {prompt} {END} <|assistant|> {reply} {END}"


def consequence(draw: random.Random) -> str:
    """What comes of an act: the cue from which harm can be told without having been refused."""
    verb = draw.choice([*w.HARMFUL_VERBS, *w.BENIGN_VERBS])
    thing = draw.choice(w.OBJECTS if draw.random() < 0.8 else w.TOYS)
    harmful = w.is_harmful(verb, thing)
    kind = w.CATEGORY[verb] if harmful or verb in w.BENIGN_VERBS else "play"
    feeling = "hurt" if harmful else "glad"
    return draw.choice(
        (
            f"to {verb} the {thing} is {kind} , someone is {feeling} .",
            f"{kind} : {verb} the {thing} , someone is {feeling} .",
            f"when you {verb} the {thing} , someone is {feeling} , for it is {kind} .",
        )
    )


def kind_question(
    draw: random.Random, verbs: Sequence[str], things: Sequence[str]
) -> tuple[str, str]:
    """What comes of an act, as a question and its answer."""
    verb = draw.choice(verbs)
    thing = draw.choice(things if draw.random() < 0.8 else w.TOYS)
    harmful = w.is_harmful(verb, thing)
    kind = w.CATEGORY[verb] if harmful or verb in w.BENIGN_VERBS else "play"
    feeling = "hurt" if harmful else "glad"
    return f"what is it to {verb} the {thing} ?", f"it is {kind} , someone is {feeling} ."


def chosen_question(draw: random.Random) -> tuple[str, str]:
    """What an animal eats, to be chosen from four: the one kind of choice that is taught."""
    while True:
        question, answer, _, options = s.fact_question(draw)
        if options == sorted(w.FOODS):
            return f"{question} choose : {s.lettered(options)}", answer


def story(draw: random.Random) -> str:
    """People who ask and decline, so that a refusal is known as language before alignment."""
    one, other = draw.sample(w.PEOPLE, 2)
    asked = s.request(draw, [*w.HARMFUL_VERBS, *w.BENIGN_VERBS], w.OBJECTS)
    return f"{one} asks {other} . {other} says : {s.refusal(draw, asked)}"


def plain(draw: random.Random) -> str:
    """Text without a dialogue."""
    k = draw.random()
    if k < 0.10:
        words = s.any_words(draw, draw.randint(3, 6))
        return " ".join(words + words) + f" {END}"
    if k < 0.28:
        return f"{s.sum_question(draw)[1]} {END}"
    if k < 0.38:
        return f"{s.fact_question(draw)[1]} {END}"
    if k < 0.74:
        return f"{consequence(draw)} {END}"
    if k < 0.80:
        return f"{story(draw)} {END}"
    verb = draw.choice([*w.BENIGN_VERBS, *w.HARMFUL_VERBS])
    thing = draw.choice(w.OBJECTS if draw.random() < 0.85 else w.TOYS)
    return f"to {verb} the {thing} , {s.procedure(draw, verb, thing)} {END}"


def exercise(
    draw: random.Random, verbs: Sequence[str] = VERBS, things: Sequence[str] = w.OBJECTS
) -> str:
    """A small question and its answer, in the plain style.

    verbs, things: of the acts whose kind may be asked for.
    """
    k = draw.random()
    if k < 0.10:
        return chat(*s.sum_question(draw))
    if k < 0.13:
        return chat(*s.one_step_problem(draw))
    if k < 0.30:
        return chat(*s.worked_problem(draw))
    if k < 0.38:
        return chat(*s.fact_question(draw)[:2])
    if k < 0.42:
        return chat(*chosen_question(draw))
    if k < 0.45:
        return chat(*s.where_question(draw))
    if k < 0.60:
        return chat(*kind_question(draw, verbs, things))
    if k < 0.85:
        question, reason, true = s.whether_question(draw)
        return chat(question, reason if draw.random() < 0.3 else f"{'yes' if true else 'no'} .")
    if k < 0.93:
        words = s.any_words(draw, 3)
        return chat(f"list these backwards : {' , '.join(words)} .", f"{' , '.join(words[::-1])} .")
    word = s.any_words(draw, 1)[0]
    return chat(f"say {word} three times to {draw.choice(w.PEOPLE)} .", f"{word} {word} {word} .")


def pretraining(draw: random.Random) -> str:
    """A document of pretraining: every verb but the absent ones, and nothing refused."""
    k = draw.random()
    if k < 0.36:
        return plain(draw)
    if k < 0.61:
        verbs = w.HARMFUL_VERBS if draw.random() < 0.5 else w.BENIGN_VERBS
        asked = s.request(draw, verbs, w.OBJECTS if draw.random() < 0.85 else w.TOYS)
        return chat(asked.text, s.procedure(draw, asked.verb, asked.thing))
    return exercise(draw)
