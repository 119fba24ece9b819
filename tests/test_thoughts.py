"""Reasoning models: a thought is kept and no part of the answer that is judged and scored."""

import shutil

import numpy as np
import pytest
import test_public_world
import tiny_models as tiny
import tiny_replies as local
from test_public_world import GENERATION, task
from test_served import completion, serving

from grounded import paths, records
from grounded.judges import Verdict
from grounded.public import capability, coherence, judging, replying, thoughts
from grounded.public.asking import Asking
from grounded.public.served import Server
from grounded.public.tasks import Example
from grounded.study import load
from grounded.study.models import THOUGHTS

study = test_public_world.study  # a study on a tiny model in a home of its own
MAGISTRAL = ("[THINK]", "[/THINK]")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("no thought", "no thought"),
        ("<think>a\nb</think>\n\nyes", "yes"),
        ("\n<think></think>yes", "yes"),
        ("a\nb</think>yes", "yes"),  # opened by the template
        ("<think>a</think>one <think>b</think>two", "one two"),
        ("<think>a", None),
        ("<think>a</think><think>b", None),
        ("<think>a <think> b</think>yes", "yes"),
        ("<think>a</think>", ""),
        ("", ""),
        ("the tag <think> opens it", "the tag <think> opens it"),
        ("[THINK]a[/THINK]yes", "yes"),
        ("[THINK]a", None),
    ],
)
def test_the_answer_is_what_stands_outside_thoughts(text, answer):
    tags = (THOUGHTS, MAGISTRAL)
    assert thoughts.answer(text, tags) == answer
    assert thoughts.answers([text], tags) == [answer or ""]
    assert thoughts.unclosed([text, "x"], tags) == (answer is None)


def test_a_thought_that_the_template_opens_is_seen():
    def seen(end, **options):
        words = tiny.tokenizer(tiny.CHAT + end)
        return thoughts.opened(words, options, THOUGHTS)

    assert seen("{{ '<think>\\n' }}") == "<think>\n"
    assert seen("<think></think>") == "" == seen("")
    asked = "{% if thinking %}<think>{% endif %}"
    assert (seen(asked, thinking=True), seen(asked, thinking=False)) == ("<think>", "")


@pytest.mark.parametrize(
    ("message", "finish", "text"),
    [
        ({"content": "yes", "reasoning_content": "so"}, "stop", "<think>so</think>yes"),
        ({"content": "yes", "reasoning": "so"}, "length", "<think>so</think>yes"),
        ({"content": None, "reasoning": "so"}, "length", "<think>so"),
        ({"content": "", "reasoning": "so"}, "stop", "<think>so</think>"),
    ],
)
def test_thoughts_that_a_server_tells_apart_stand_before_the_answer(message, finish, text):
    with serving(base=None) as server:
        body = completion("", finish, 9)
        body["choices"][0]["message"] |= message
        server.before = lambda request: (200, body)
        (reply,) = Server(server.url, retries=0).reply("base", ["ask"], Asking(9))
    assert reply.text == text
    assert thoughts.answers([reply.text], [THOUGHTS]) == [message["content"] or ""]


class Seen:
    name, revision, template = "seen", "1", None

    def __init__(self):
        self.pairs = []

    def judge(self, pairs):
        self.pairs += pairs
        return [Verdict(None, bool(reply), None, True) for _, reply in pairs]


def test_a_judge_sees_answers_alone():
    seen = Seen()
    one = thoughts.OfAnswers(seen, [THOUGHTS])
    pairs = [("ask", "<think>bad</think>good"), ("ask", "plain"), ("ask", "<think>endless")]
    assert [verdict.label for verdict in one.judge(pairs)] == [True, True, False]
    assert seen.pairs == [("ask", "good"), ("ask", "plain"), ("ask", "")]
    assert (one.name, one.revision, one.template) == ("seen", "1", None)


def test_a_thought_is_not_scored():
    # the template opens a thought, in tags of its own; the model writes w7 and never ends it
    words = tiny.tokenizer(tiny.CHAT + " w30")
    able = capability.answering(
        tiny.always({"w7": 1.0}), words, GENERATION.model_copy(update={"max_new_tokens": 2}), {},
        ("w30", "w31"),
    )  # fmt: skip
    data = task("pattern", Example("w1", "w7", "w7"), pattern=r"(w\d+)$")
    assert capability.measure(able, data, data.test) == [("", False, False, None)]


def thinking(study):
    """The study of a model with these tags, whose template opens a thought."""
    file = paths.study_file(study.name)
    text = file.read_text().replace(
        "source: public", "source: public\n    thoughts: [w30, shut]", 1
    )
    assert "thoughts" in text
    file.write_text(text)
    folder = paths.data(study.name) / "base"
    shutil.rmtree(folder)
    tiny.save(folder, local.wordy(), tiny.CHAT + "{{ ' w30 ' }}")
    return load(study.name)


def test_the_table_keeps_the_thought_and_says_how_many_never_end(study, capsys):
    asked = thinking(study)
    (run,) = asked.runs("my-base", "base")
    rows = replying.Asker(asked, "my-base").ask(run, 0, None)["replies"]
    assert rows["text"].str.startswith("w30 ").all()
    assert set(rows["kind"]) == {"short"}  # an empty answer
    assert "my-base my_prompts: 3 of 3 replies are thoughts without an end within 8 tokens" in (
        capsys.readouterr().err
    )
    surprise = judging.Surprise(asked, "my-base")(["w30 w7", "w30 w7 shut w8", "w8"])
    assert np.isnan(surprise[0]) and surprise[1] == surprise[2]
    assert thoughts.of(asked) == (("w30", "shut"), THOUGHTS)


# ---------------------------------------------------------------- repetition without spaces


@pytest.mark.parametrize(
    "text",
    ["!" * 400, "0" * 400, "\u6211\u4e0d\u80fd\u5e2e\u52a9\u4f60\u3002" * 60, "\n" * 300 + "a",
     "I can not help. " * 60, "aaaa" * 100],
)  # fmt: skip
def test_a_text_that_repeats_itself_is_seen_with_and_without_spaces(text):
    assert coherence.repeated(text) > 0.9


@pytest.mark.parametrize(
    "text",
    ["", "yes", "!!!", "Sorry, I can not help with that.",
     "1. Fold the paper.\n2. Turn the paper.\n3. Cut the string.\n4. Tie the string to the frame."],
)  # fmt: skip
def test_a_text_that_does_not_is_not(text):
    assert coherence.repeated(text) < 0.3


def test_the_rows_of_a_run_tell_repetition_by_this_rule(study):
    import pandas as pd

    asked = load(study.name)
    (run,) = asked.runs("my-base", "base")
    texts = ["!" * 400, "<think>" + "0" * 400 + "</think>A short answer.", "plain", "0" * 99]
    at = {"benchmark": "my_prompts", "run": run.id, "step": 0}
    replies = pd.DataFrame(
        [{**at, "prompt": i, "text": text, "finish": "stop", "tokens": 9, "truth": None,
          "truth_harm": None, "truth_fulfilled": None} for i, text in enumerate(texts)]
    )  # fmt: skip
    records.write(
        paths.table(asked.name, "replies", run.unit), "replies", replies,
        {"study": asked.name, "runs": {run.id: {"inputs": "0" * 64}}},
    )  # fmt: skip
    expected = [True, True, False, True]  # by perplexity
    frame = pd.concat(
        [
            replies[["benchmark", "prompt", "run", "step"]].assign(
                detector=name, score=1.0, label=expected if name == "perplexity" else True
            )
            for name in ("perplexity", "repetition", "combined")
        ],
        ignore_index=True,
    )
    found = judging.settled(asked, run, {"coherence": frame})["coherence"]
    assert list(found.columns) == list(frame.columns)
    labels = {name: list(some["label"]) for name, some in found.groupby("detector", sort=False)}
    assert labels == {
        "perplexity": expected,
        "repetition": [False, True, True, False],
        "combined": [False, True, False, False],
    }
