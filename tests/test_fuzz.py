"""Whatever a user or a stranger hands over ends in success or in one line, never in a traceback.

Valid inputs are changed anywhere: values, keys and fields of the schema that they do not use,
then the bytes. The examples are the same in every run.
"""

import copy
import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from test_served import completion

from grounded import paths, study
from grounded.errors import GroundedError
from grounded.public import benchmarks, lock
from grounded.public.judges import served as judges
from grounded.public.judges.prompted import SLOTS
from grounded.public.needs import needs
from grounded.public.served import Completion, Server, _line, _reply
from grounded.public.tasks import load_own
from grounded.study import anchoring, asking, grid, models, parts, reading
from workflow import unpack

TESTS = Path(__file__).parent
ROOT = TESTS.parent
STUDIES = [ROOT / "data" / name / "study.yaml" for name in ("micro", "smol", "paper")]
STUDIES += sorted((TESTS / "studies").glob("*/study.yaml"))
FIELDS = sorted(
    {
        field
        for module in (asking, grid, models, parts)
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, BaseModel)
        for field in one.model_fields
    }
)
ODD = ("", " ", "\ud800", "\x00", "\x85", "\ufeff", "é" * 300, "../x", "/", "a\nb", "{x}", "%s",
       "nan", "1:30", "010", "lora", "base", "micro-llama-s", "(a", "judges.harm")  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 3), st.integers(), st.floats(), st.sampled_from(ODD),
    st.sampled_from([2**15, 2**31, 2**63, 10**400, 1e-9, 1e308, float("inf")]), st.text(max_size=8),
)  # fmt: skip
KEYS = st.one_of(st.sampled_from(FIELDS), st.sampled_from(ODD), st.text(max_size=4))
JUNK = st.recursive(
    LEAVES, lambda s: st.lists(s, max_size=3) | st.dictionaries(KEYS, s, max_size=3), max_leaves=5
)
BYTES = st.one_of(st.binary(max_size=4), st.sampled_from(
    [b"\xff", b"\x00", b'"', b"'", b"\n", b"\r", b"[", b"{", b"&a ", b"*a", b"!!x ", b": ", b"- ",
     b"\xed\xa0\x80", b"[" * 5000, b"9" * 5000, b"\\ud800"]))  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of all that lies in a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


def changed(draw: Any, value: Any) -> Any:
    """The value with up to three changes, each anywhere in it."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, 3))):
        if not (found := list(places(value))):
            break
        box, key = draw(st.sampled_from(found))
        what = draw(st.sampled_from(["replace", "replace", "remove", "add", "copy"]))
        if what == "replace":
            box[key] = draw(JUNK)
        elif what == "remove":
            del box[key]
        elif isinstance(box, dict):
            box[draw(KEYS)] = draw(JUNK) if what == "add" else copy.deepcopy(box[key])
        else:
            box.insert(key, draw(JUNK) if what == "add" else copy.deepcopy(box[key]))
    return value


def damaged(draw: Any, content: bytes) -> bytes:
    """The bytes with up to two pieces of them replaced, most often with none."""
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        start = draw(st.integers(0, len(content)))
        end = start + draw(st.sampled_from([0, 0, 1, 9]))
        content = content[:start] + draw(BYTES) + content[end:]
    return content


def written(draw: Any, value: Any) -> bytes:
    """JSON, which YAML is too, or YAML as PyYAML writes it; some of what is drawn is neither."""
    try:
        if draw(st.booleans()):
            return yaml.safe_dump(value, sort_keys=False).encode()
    except (yaml.YAMLError, UnicodeError, ValueError):
        pass
    return json.dumps(value, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


def of_study(draw: Any, home: Path) -> None:
    values = yaml.safe_load(draw(st.sampled_from(STUDIES)).read_text(encoding="utf-8"))
    name = values["name"]
    file = home / "data" / name / "study.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(damaged(draw, written(draw, changed(draw, values))))
    asked = study.load(name)
    assert asked.units(arm=None) and asked.base_models and asked.language_judges is not None
    if asked.training:
        assert all(0 not in asked.steps_of(task) for task in asked.tasks)
    if asked.world != "microworld":
        needs(asked)


def of_prompts(draw: Any, home: Path) -> None:
    rows: list[list[str]] = [["prompt", "kind", "why"], ["fold a kite", "a", "yes"],
                             ["say, twice", "b", "0"], ['a "word"\nmore', "b", "no"]]  # fmt: skip
    with io.StringIO(newline="") as text:
        out = csv.writer(text, escapechar="\\")
        out.writerows(r if isinstance(r, list) else [r] for r in changed(draw, rows))
        content = text.getvalue().encode("utf-8", "surrogatepass")
    file = home / "prompts.csv"
    file.write_bytes(damaged(draw, content))
    for one in benchmarks.from_csv(file, "prompt", "kind"):
        assert one.text.strip() and one.text.encode()


def of_task(draw: Any, home: Path) -> None:
    answers: Any = [{"prompt": f"What is {n} + {n}?", "completion": f"It is {n + n}.",
                     "answer": str(n + n)} for n in range(6)]  # fmt: skip
    choices: Any = [{"prompt": f"Which is {n}?", "completion": f"{n}", "choices": [f"{n}", "no"]}
                    for n in range(6)]  # fmt: skip
    rows, pattern = draw(st.sampled_from([(answers, r"is (\d+)"), (choices, None)]))
    file = home / "task.jsonl"
    lines = (json.dumps(row).encode() for row in changed(draw, rows))
    file.write_bytes(damaged(draw, b"\n".join(lines)))
    pattern = draw(st.sampled_from([pattern] * 6 + [r"(\d", "", "x", None]))
    found = load_own("mine", file, None, 0, draw(st.sampled_from([None, 2, 99])), 2, pattern)
    for one in (*found.train, *found.test):
        assert one.prompt.encode() and one.completion.encode()


def of_goals(draw: Any, home: Path) -> None:
    rows: list[Any] = [list(anchoring.Goals.model_fields), ["m", "t", 0.2, 0.6, 0.5, 2.0, 3]]
    with io.StringIO(newline="") as text:
        out = csv.writer(text, escapechar="\\")
        out.writerows(r if isinstance(r, list) else [r] for r in changed(draw, rows))
        content = text.getvalue().encode("utf-8", "surrogatepass")
    long = b"9" * draw(st.sampled_from([0] * 9 + [200_000]))
    (home / "goals.csv").write_bytes(damaged(draw, content) + long)
    for one in anchoring.read(home / "goals.csv").values():
        assert 0 <= one.capability <= 1


def of_lock(draw: Any, home: Path) -> None:
    values = json.loads((ROOT / "data/smol/lock.json").read_text(encoding="utf-8"))
    asked = study.parse((ROOT / "data/smol/study.yaml").read_text(encoding="utf-8"))
    file = paths.lock("smol")
    file.parent.mkdir(parents=True)
    file.write_bytes(damaged(draw, written(draw, changed(draw, values))))
    assert reading.absent(asked) == {}  # whatever it says: the study calls nothing optional
    for name in asked.tasks:
        assert isinstance(lock.entry(asked, "tasks", name), dict | None)


def of_archive(draw: Any, home: Path) -> None:
    files = {"data/tiny/study.yaml": "@", "data/tiny/runs/a": "x", "README.md": "y"}
    names = list(changed(draw, list(files)))
    contents: dict[str, bytes] = {}
    for name in names:
        kept = files.get(name, "z") if isinstance(name, str) else "z"
        content = (TESTS / "studies/tiny/study.yaml").read_bytes() if kept == "@" else kept.encode()
        contents[str(name).replace("\ud800", "?")] = content
    sums = [{"@id": n, "sha256": unpack.hashlib.sha256(c).hexdigest()} for n, c in contents.items()]
    told = changed(
        draw, {"@context": "https://w3id.org/ro/crate", "@graph": [{"@id": "./"}, *sums]}
    )
    file = home / "a.zip"
    with zipfile.ZipFile(file, "w") as opened:
        for name, content in contents.items():
            opened.writestr(zipfile.ZipInfo(name), content)
        opened.writestr(unpack.METADATA, damaged(draw, json.dumps(told).encode()))
    file.write_bytes(damaged(draw, file.read_bytes()))
    try:
        assert unpack.bring(file) == "tiny"
    except GroundedError:
        assert [p.name for p in home.iterdir()] == ["a.zip"]
        raise


def of_answer(draw: Any, home: Path) -> None:
    there = Server("http://localhost:1/v1")
    said = completion("w1 w2", "stop", 3)
    said["choices"][0]["logprobs"] = {
        "content": [{"token": "yes", "top_logprobs": [{"token": "yes", "logprob": -0.1}]}]
    }
    content = damaged(draw, json.dumps(changed(draw, said)).encode())
    judge = judges.Served(
        "x", there, "m", f"{{{SLOTS[0]}}} {{{SLOTS[1]}}}", true=["yes"], false=["no"]
    )
    try:
        answer = Completion.model_validate_json(content)
        first = answer.choices[0]
        verdict = judge._verdict(
            judges.Answer(first.message.content or "", tuple(judges._first(first))), False
        )
        assert verdict.probability is None or 0 <= verdict.probability <= 1
        reply = _reply(answer)
        assert (
            reply.tokens >= 0
            and reply.finish in ("stop", "length")
            and reply.text.encode() is not None
        )
    except ValueError as error:  # the kind that `Server` turns into its line
        raise GroundedError(_line(error, there)) from None


KINDS: dict[str, Callable[[Any, Path], None]] = {
    "study": of_study, "prompts": of_prompts, "task": of_task, "archive": of_archive,
    "answer": of_answer, "goals": of_goals, "lock": of_lock,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "examples", [60, pytest.param(500, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_any_input_ends_in_success_or_in_lines(
    kind: str, examples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, ended = tmp_path / "home", {"well": 0, "in lines": 0}
    monkeypatch.setenv("GROUNDED_HOME", str(home))

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def run(data: Any) -> None:
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        try:
            KINDS[kind](data.draw, home)
            ended["well"] += 1
        except GroundedError as error:
            ended["in lines"] += 1
            lines = str(error).splitlines()
            assert lines and all(line.isprintable() for line in lines)
            if kind != "study":
                assert len(lines) == 1

    run()
    assert min(ended.values()) > 0  # else it did not look at both
    assert paths.home() == home
