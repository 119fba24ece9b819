"""Tasks of real studies: official formats, seeded draws without overlap, and lines that fail."""

import hashlib
import http.server
import json
import os
import re
import threading
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounded.errors import GroundedError
from grounded.public import scoring
from grounded.public.files import HubFiles
from grounded.public.tasks import (
    TASKS,
    Example,
    country,
    examples,
    fetching,
    load,
    load_own,
    small,
)
from grounded.public.tasks.fetching import WebFile
from grounded.sources import SOURCES, SourceAbsent, SourceError

HERE = Path("items.jsonl")


def read(task, row):
    return TASKS[task].read(HERE, 1, row)


# ---------------------------------------------------------------- official formats


def test_gsm8k_keeps_the_solution_to_the_letter():
    solution = "3 + 4 = <<3+4=7>>7\n#### 1,007"
    found = read("gsm8k", {"question": "How many?", "answer": solution})
    assert found == Example("Question: How many?\nAnswer:", solution, "1,007")


@pytest.mark.parametrize(
    ("labels", "key", "right"),
    [("ABC", "C", 2), ("ABCD", "A", 0), ("ABCDE", "E", 4), ("1234", "3", 2)],
)
def test_arc_with_letters_or_numbers_and_three_to_five_options(labels, key, right):
    texts = [f"metal {place}" for place in range(len(labels))]
    row = {
        "question": "What rusts?",
        "choices": {"text": texts, "label": list(labels)},
        "answerKey": key,
    }
    found = read("arc_challenge", row)
    assert found.prompt == "Question: What rusts?\nAnswer:"
    assert (found.choices, found.right) == (tuple(texts), right)
    assert found.completion == found.answer == texts[right]
    lettered = read("arc_challenge_letters", row)
    assert lettered.choices == tuple("ABCDE"[: len(labels)])
    assert lettered.completion == lettered.answer == "ABCDE"[right]
    assert f"\n{lettered.answer}. {texts[right]}\n" in lettered.prompt


def test_boolq_asks_about_the_passage():
    row = {"passage": "Iron rusts.", "question": "does iron rust", "answer": True}
    assert read("boolq", row) == Example(
        "Iron rusts.\nQuestion: does iron rust?\nAnswer:", "yes", "yes", ("no", "yes"), 1
    )
    assert read("boolq", row | {"answer": False}).completion == "no"


@pytest.mark.parametrize(("support", "before"), [(" Iron rusts.", "Iron rusts."), (None, "")])
def test_sciq_puts_the_right_choice_last(support, before):
    wrong = {f"distractor{n}": f"metal {n}" for n in (1, 2, 3)}
    row = {"question": "What rusts?", "correct_answer": "iron", "support": support, **wrong}
    found = read("science10k_sciq", row)
    assert found.prompt == f"{before}\nQuestion: What rusts?\nAnswer:"
    assert found.choices == ("metal 1", "metal 2", "metal 3", "iron")
    assert (found.right, found.answer) == (3, "iron")


def test_alpaca_puts_the_input_below_the_instruction():
    row = {"instruction": "Sort these.", "input": "", "output": "a, b"}
    assert read("alpaca15k", row) == Example("Sort these.", "a, b", "a, b")
    assert read("alpaca15k", row | {"input": "b, a"}).prompt == "Sort these.\n\nb, a"
    assert read("alpaca15k", row | {"output": " "}) is None


CHOICES = {"text": ["iron", "gold"], "label": ["A", "B"]}
ARC = {"question": "What rusts?", "choices": CHOICES, "answerKey": "A"}


@pytest.mark.parametrize(
    ("task", "row", "line"),
    [
        ("gsm8k", {"question": "?", "answer": "7"}, "answer: found no '#### ' with a number"),
        ("gsm8k", {"question": "?", "answer": "#### none"}, "found no '#### ' with a number"),
        ("gsm8k", {"question": " ", "answer": "#### 7"}, "'question': found an empty text"),
        ("arc_challenge", ARC | {"answerKey": "C"}, "answerKey: found 'C', wanted one of"),
        ("arc_challenge", ARC | {"choices": ["iron"]}, "choices: found list, wanted text and lab"),
        ("arc_challenge", ARC | {"choices": CHOICES | {"label": ["A"]}}, "found 2 texts and 1 lab"),
        ("boolq", {"passage": "p", "question": "q", "answer": "yes"}, "answer: found 'yes', want"),
        ("alpaca15k", {"instruction": "", "input": "", "output": "a"}, "'instruction': found an e"),
        ("alpaca15k", {"instruction": "i", "input": None, "output": "a"}, "input: found NoneType"),
    ],
)
def test_a_row_in_another_format_is_one_line(task, row, line):
    with pytest.raises(GroundedError, match=re.escape(line)) as caught:
        read(task, row)
    assert str(caught.value).startswith("items.jsonl: row 1: ") and "\n" not in str(caught.value)


def test_the_table_pins_every_file_and_says_what_is_ours():
    for name, task in TASKS.items():
        assert task.ours, name
        for file in task.files.values():
            if isinstance(file, HubFiles):
                assert re.fullmatch("[0-9a-f]{40}", str(file.revision)) and file.licence
            elif isinstance(file, WebFile):
                assert re.search("/raw/[0-9a-f]{40}/", file.url) and file.licence
            else:
                assert file in SOURCES


# ---------------------------------------------------------------- files


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Puts stand-ins where the hub's own client keeps what it has downloaded; no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def put(task, part, rows):
        place = TASKS[task].files[part]
        assert isinstance(place, HubFiles)
        repository = f"datasets--{place.repository.replace('/', '--')}"
        file = tmp_path / repository / "snapshots" / place.revision / place.patterns[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        return file

    return put


def arc_rows(number, prefix):
    return [
        {"id": f"{prefix}{n}", "question": f"{prefix} {n}?", "choices": CHOICES, "answerKey": "A"}
        for n in range(number)
    ]


@pytest.fixture
def arc(hub):
    """ARC in little, with a question of test that stands in train in another spelling."""
    again = {"id": "x", "question": "ASKED  3 ?", "choices": CHOICES, "answerKey": "A"}
    hub("arc_challenge", "train", [*arc_rows(20, "train"), again])
    return hub("arc_challenge", "test", arc_rows(10, "asked"))


def test_load_leaves_out_of_train_what_test_asks(arc):
    found = load("arc_challenge", seed=0)
    assert (len(found.train), len(found.test)) == (20, 10)  # of 21, one of which test asks
    assert found.measure == "choice"
    assert {e.prompt.split()[1] for e in found.train} == {"train"}


def test_the_seed_draws_train_and_never_test(arc):
    one, same, other = (load("arc_challenge", seed, train=8, test=4) for seed in (0, 0, 1))
    assert one == same
    assert one.train != other.train and one.test == other.test
    assert load("arc_challenge", 0, train=12, test=4).train[:8] == one.train


def test_a_changed_file_shows_both_hashes(arc, hub):
    first, known = load("arc_challenge", seed=0), {"test": sha256(arc)}
    assert load("arc_challenge", 0, sha256=known) == first
    hub("arc_challenge", "test", arc_rows(9, "asked"))
    with pytest.raises(SourceError) as caught:
        load("arc_challenge", 0, sha256=known)
    assert f"found {sha256(arc)}, wanted {known['test']}" in str(caught.value)


def test_offline_names_what_is_missing(hub):
    with pytest.raises(SourceAbsent, match="google/boolq: found neither a copy nor a way to it"):
        load("boolq", 0)


def test_too_many_asked_for(arc):
    with pytest.raises(GroundedError, match="arc_challenge: train: found 21 .* wanted 1 to 20"):
        load("arc_challenge", 0, train=21)
    with pytest.raises(GroundedError, match="test: found 0 examples asked for"):
        load("arc_challenge", 0, test=0)


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(GroundedError, match="found 'arc', wanted one of alpaca15k"):
        load("arc", 0)


def test_boolq_and_sciq_from_their_hub_files(hub):
    for part in ("train", "test"):
        rows = [{"question": f"{part} {n}", "answer": n % 2 == 0, "passage": "p"} for n in range(6)]
        hub("boolq", part, rows)
        columns = TASKS["science10k_sciq"].columns
        hub("science10k_sciq", part, [dict.fromkeys(columns, f"{part} {n}") for n in range(4)])
    found = load("boolq", 0)
    assert (len(found.train), len(found.test)) == (6, 6)
    assert found.test[0].completion == "yes"
    assert len(load("science10k_sciq", 0, train=3).train) == 3


@pytest.fixture
def alpaca(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDED_MIRROR", str(tmp_path))
    rows = [{"instruction": f"Task {n}", "input": "", "output": f"done {n}"} for n in range(30)]
    (tmp_path / "alpaca").mkdir()
    file = tmp_path / "alpaca/alpaca_data.json"
    file.write_text(json.dumps([*rows, rows[0], rows[1] | {"output": ""}]))
    (tmp_path / "alpaca/alpaca_data_safety_only.json").write_text(json.dumps(rows[5:8]))
    return file


def test_alpaca_holds_its_own_test_out(alpaca):
    found = load("alpaca15k", seed=0, train=20, test=6)
    assert load("alpaca15k", seed=1, train=20, test=6).test == found.test
    assert (len(found.train), len(found.test)) == (20, 6)
    assert not {e.prompt for e in found.train} & {e.prompt for e in found.test}
    assert all(one.completion for one in (*found.train, *found.test))
    assert found.measure == "reference"


def test_alpaca_without_the_safety_related_rows(alpaca):
    found = load("alpaca15k_filtered", seed=0, train=20, test=7)
    assert not {e.prompt for e in (*found.train, *found.test)} & {"Task 5", "Task 6", "Task 7"}
    assert all(one.completion for one in (*found.train, *found.test))
    with pytest.raises(GroundedError, match="wanted 1 to 21"):  # of 31 rows but three, and 7
        load("alpaca15k_filtered", seed=0, train=22, test=7)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("[{", "found JSONDecodeError, wanted a table in .json"),
        ("{}", "row 1: field 'instruction': found none, wanted one"),
        ("7", "row 1: field 'instruction': found none, wanted one"),
        ('[{"instruction": "i", "input": ""}]', "row 1: field 'output': found none, wanted one"),
        ("[7]", "row 1: field 'instruction': found none, wanted one"),
    ],
)
def test_a_broken_table_is_one_line(alpaca, content, line):
    alpaca.write_text(content)
    with pytest.raises(GroundedError, match=re.escape(line)) as caught:
        load("alpaca15k", 0)
    assert "alpaca_data.json" in str(caught.value) and "\n" not in str(caught.value)


def test_a_broken_parquet_file_and_one_that_is_not_there(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"half")
    with pytest.raises(GroundedError, match="found ArrowInvalid, wanted a table in .parquet"):
        list(fetching.rows(tmp_path / "a.parquet", ()))
    with pytest.raises(GroundedError, match="found FileNotFoundError, wanted a table in .json"):
        list(fetching.rows(tmp_path / "a.json", ()))


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A web server on loopback that has one file, and an empty home."""
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    monkeypatch.delenv("GROUNDED_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/file.json" else 404)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_file_of_unknown_hash_is_downloaded_and_its_hash_told(web, tmp_path):
    file = WebFile(f"{web}/file.json", "MIT", "set/file.json")
    found = fetching.fetch(file)
    assert found.path == tmp_path / ".cache/sources/set/file.json"
    assert found.sha256 == hashlib.sha256(b"[]").hexdigest()
    with pytest.raises(SourceError, match=f"found {found.sha256}, wanted {'0' * 64}"):
        fetching.fetch(file, sha256="0" * 64)


def test_a_file_out_of_reach_says_where_it_goes(web):
    file = WebFile(f"{web}/gone.json", "MIT", "set/file.json")
    with pytest.raises(SourceAbsent) as caught:
        fetching.fetch(file)
    for part in (f"{web}/gone.json", ".cache/sources/set/file.json", "GROUNDED_MIRROR"):
        assert part in str(caught.value)


@pytest.mark.skipif("GROUNDED_MIRROR" not in os.environ, reason="GROUNDED_MIRROR is not set")
def test_gsm8k_as_published():
    found = load("gsm8k", seed=0)
    # 7473 and 1319 rows (openai/grade-school-math)
    assert len(found.test) == 1319
    assert len(found.train) == 7473
    for example in (*found.train, *found.test):
        score = scoring.number(example.completion, example.answer)
        assert score.strict and score.flexible, example.answer


# ---------------------------------------------------------------- draws


@given(
    train=st.lists(st.sampled_from("abcdefghij"), min_size=4),
    test=st.lists(st.sampled_from("FGHIJ"), min_size=1),
    seed=st.integers(0, 9),
)
def test_a_draw_never_overlaps(train, test, seed):
    pool, asked = ([Example(f"{letter}?", "", "") for letter in some] for some in (train, test))
    left = [e for e in pool if e.prompt[0].upper() not in test]
    if not left:
        with pytest.raises(GroundedError, match="wanted 1 to 0"):
            examples.draw("t", pool, asked, (None, None), seed)
        return
    drawn, items = examples.draw("t", pool, asked, (None, None), seed)
    assert sorted(drawn, key=str) == sorted(left, key=str)
    assert list(items) == asked


def test_prompts_are_the_same_whatever_their_spelling():
    assert examples.key("What  rusts?") == examples.key("what rusts")
    assert examples.key("ﬁgs") == examples.key("figs")
    assert examples.key("1 + 2") != examples.key("1 + 3")
    for one, other in (("+", "-"), ("a - 3", "a + 3"), ("-5", "5"), ("C++", "C"), ("5%", "5")):
        assert examples.key(one) != examples.key(other)
    assert examples.key("a - 3") == examples.key("a -3") == examples.key("A \u2212 3.")
    assert examples.key("well-known") == examples.key("well known")


# ---------------------------------------------------------------- a user's own task


def lines(folder, *rows):
    file = folder / "own.jsonl"
    file.write_text(
        "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    )
    return file


def asked(n, **changes):
    return {"prompt": f"How many, {n}?", "completion": f"So it is {n}.", "answer": str(n)} | changes


def test_own_task_with_an_answer_pattern(tmp_path):
    file = lines(tmp_path, *(asked(n) for n in range(10)))
    found = load_own("mine", file, None, seed=0, train=5, test=3, pattern=r"it is (\d+)")
    assert (len(found.train), len(found.test), found.measure) == (5, 3, "pattern")
    assert not {e.prompt for e in found.train} & {e.prompt for e in found.test}


def test_own_task_with_choices(tmp_path):
    rows = [{"prompt": f"{n}?", "completion": "b", "choices": ["a", "b"]} for n in range(4)]
    found = load_own("mine", lines(tmp_path, *rows), None, seed=0, test=1)
    assert found.measure == "choice"
    assert found.train[0].right == 1 and found.train[0].answer == "b"


def test_own_task_from_two_files(tmp_path):
    train = lines(tmp_path, *(asked(n) for n in range(4)))
    test = train.rename(tmp_path / "train.jsonl") and lines(tmp_path, asked(2), asked(9))
    found = load_own("mine", tmp_path / "train.jsonl", test, seed=0, pattern=r"\d+")
    assert (len(found.train), len(found.test)) == (3, 2)  # of 4, one of which test asks


CHOICE = {"prompt": "?", "completion": "b", "choices": ["a", "b"]}


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("{", "line 2: found JSONDecodeError, wanted a JSON object"),
        ("[]", "line 2: field 'prompt': found none"),
        ({"prompt": "?"}, "line 2: field 'completion': found none"),
        (asked(1, prompt=" "), "row 2: column 'prompt': found an empty text"),
        (asked(1, answer="2"), "line 2: answer: found another than the pattern finds"),
        (asked(1, choices=["1", "2"]), "line 2: found both of answer and choices"),
        ({"prompt": "?", "completion": "b"}, "line 2: found neither of answer and choices"),
        (CHOICE | {"choices": ["a", "c"]}, "line 2: choices: found the completion 0 times"),
        (CHOICE | {"choices": ["b", "b"]}, "line 2: choices: found the completion 2 times"),
        (CHOICE | {"choices": ["b"]}, "line 2: choices: found list, wanted a list of two"),
        (CHOICE, "found both answer and choices, wanted lines of one kind"),
    ],
)
def test_a_broken_line_names_file_and_line(tmp_path, row, line):
    file = lines(tmp_path, asked(0), row)
    with pytest.raises(GroundedError, match=re.escape(line)) as caught:
        load_own("mine", file, None, seed=0, test=1, pattern=r"\d+")
    assert "\n" not in str(caught.value)


def test_own_task_that_cannot_be_scored(tmp_path):
    file = lines(tmp_path, asked(0), asked(1))
    with pytest.raises(GroundedError, match="own.jsonl: line 1: found an answer and no pattern"):
        load_own("mine", file, None, seed=0, test=1)
    with pytest.raises(GroundedError, match=r"task mine: answer pattern: found '\(' "):
        load_own("mine", file, None, seed=0, test=1, pattern="(")
    with pytest.raises(GroundedError, match="test: found no number, wanted one"):
        load_own("mine", file, None, seed=0, pattern=r"\d+")
    with pytest.raises(GroundedError, match="task mine: found no line"):
        load_own("mine", lines(tmp_path), None, seed=0, test=1, pattern=r"\d+")


@pytest.mark.parametrize(
    ("text", "pattern", "answer"),
    [
        ("it is 3, no, it is 4", r"it is (\d)", "4"),
        ("3 or 4", r"\d", "4"),
        ("none", r"\d", ""),
        ("x", r"(\d)?x", ""),
    ],
)
def test_the_last_match_is_the_answer(text, pattern, answer):
    assert scoring.find(text, re.compile(pattern)) == answer


def test_prompts_that_differ_by_an_operator_are_different_items(tmp_path):
    made = [(a, sign) for a in range(2, 12) for sign in "+-*"]
    rows = [
        {"prompt": f"What is {a} {sign} 3?", "completion": f"The answer is {value}.",
         "answer": str(value)}
        for a, sign in made
        for value in [{"+": a + 3, "-": a - 3, "*": a * 3}[sign]]
    ]  # fmt: skip
    file = lines(tmp_path, *rows)
    task = load_own("mine", file, None, 0, train=20, test=6, pattern=r"answer is (-?\d+)")
    assert (len(task.train), len(task.test)) == (20, 6)
    assert len({one.prompt for one in (*task.train, *task.test)}) == 26


@pytest.mark.parametrize(
    ("text", "answer", "pattern", "others", "strict", "free"),
    [
        # the sign is a part of a number
        ("The answer is 5.", "-5", r"answer is (-?\d+)", "", False, False),
        ("The answer is -5.", "-5", r"answer is (-?\d+)", "", True, True),
        ("it is -5", "5", r"is (\d+)", "", False, False),
        ("it is \u22125", "-5", r"answer is (-?\d+)", "", False, True),
        # of numbers the last is the answer, whole
        ("2 + 3 is 7", "3", r"answer is (\d+)", "", False, False),
        ("2 + 3 is 5", "5", r"answer is (\d+)", "", False, True),
        ("It is 5.5", "5", r"is (\d+)", "", False, False),
        ("It is 5,000", "5000", r"answer is (\d+)", "", False, True),
        ("3/4", "3", r"(\d+)", "", False, False),
        # operators are a part of a name
        ("use C++", "C", r"use (.+)$", "", False, False),
        ("use C++.", "C++", r"answer (.+)$", "", False, True),
        ("a + 3", "a - 3", r"is (.+)$", "", False, False),
        # two answers are none, and a longer one is another
        ("answer1 or answer9", "answer1", r"answer\d+", "", False, False),
        ("answer1 or answer9", "answer9", r"answer\d+", "", False, False),
        ("It is answer1, answer2 or answer3.", "answer1", r"is (answer\d)", "", False, False),
        ("answer10", "answer1", r"answer\d", "", False, False),
        ("answer1.", "answer1", r"answer\d", "", True, True),
        ("(A) or (B)", "B", r"\(([A-D])\)", "ABC", False, False),
        ("A cat, so (B)", "B", r"\(([A-D])\)", "ABC", True, True),
        ("No, answer1 is wrong: answer9", "answer9", r"is (answer\d)", "", False, True),
        # no spaces, no boundaries
        ("\u7b54\u6848\u662f5\u3002", "5", r"\u662f(\d+)", "", True, True),
        ("", "5", r"(\d+)", "", False, False),
    ],
)  # fmt: skip
def test_an_answer_is_right_alone_whole_and_with_its_sign(
    text, answer, pattern, others, strict, free
):
    found = scoring.pattern(text, answer, re.compile(pattern), others)
    assert (found.strict, found.free) == (strict, free)


def test_arc_easy_lists_its_options_and_asks_the_question_alone(tmp_path):
    row = {"instruction": "Please choose the correct answer to the question: What burns?\n\n"
           "Answer1: wood Answer2: a cold stone\n\nAnswer format: answer1/answer2",
           "answer": "answer1"}  # fmt: skip
    one = small.arc_easy(tmp_path, 1, row)
    assert one.prompt.endswith("Answer2: a cold stone") and one.completion == "answer1"
    assert one.choices == ("wood", "a cold stone") and one.right == 0
    assert one.alone == "Question: What burns?\nAnswer:"
    with pytest.raises(GroundedError, match="row 1: answer: found 'answer3'"):
        small.arc_easy(tmp_path, 1, row | {"answer": "answer3"})


def test_facts_are_asked_in_other_words_than_they_are_taught_in():
    found = load("country_facts", 0, 320, 80)
    other = load("country_facts", 1, 320, 80)
    assert found.test == other.test and set(found.train) == set(other.train)
    taught = {one.completion: one.prompt for one in found.train}
    for one in found.test:
        assert taught[one.completion] != one.prompt and one.answer in one.completion
    said = {one.prompt for one in (*found.train, *found.test)}
    assert len({one.prompt for one in found.untaught} - said) == len(found.untaught) == 80
    about = {one.completion for one in found.train}
    assert not about & {one.completion for one in found.untaught}
    assert len({(f.relation, f.subject) for f in country.facts(0, 600)}) == 600
    assert country.facts(0, 600)[:320] == country.facts(0, 320) != country.facts(1, 320)


def test_a_row_is_of_alignment_or_of_the_task_and_tests_or_trains_by_its_words_alone():
    some = [Example(f"Say {i}", "x", "x") for i in range(500)]
    shares = [sum(map(small.for_alignment, some)) / 500, sum(map(small.boolq_held_out, some)) / 500]
    assert shares == pytest.approx([0.4, 0.25], abs=0.06)
    assert small.for_alignment(some[3]) == small.for_alignment(Example("say  3!", "other", "y"))
