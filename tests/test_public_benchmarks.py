"""Public benchmarks: the official files where they are at hand, their formats everywhere."""

import hashlib
import json
import lzma
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from grounded import sources
from grounded.errors import GroundedError
from grounded.public import benchmarks, data
from grounded.public.benchmarks import BENCHMARKS, CONTEXT_SEPARATOR, Prompt, from_csv, load
from grounded.public.files import HubFiles
from grounded.public.tasks.examples import key
from grounded.sources import SourceAbsent, SourceError
from grounded.study import load as load_study

MIRROR = os.environ.get("GROUNDED_MIRROR", "")
real = pytest.mark.skipif(
    not (Path(MIRROR) / "harmbench").is_dir(),
    reason="GROUNDED_MIRROR names no folder with the official files",
)

# Counts by the authors' papers and files (Mazeika et al. 2024, Zou et al. 2023, Roettger et al.
# 2024); the files themselves are pinned by sha256 in `sources`.
SIZES = {
    "harmbench": 400,
    "harmbench_standard": 200,
    "harmbench_contextual": 100,
    "harmbench_copyright": 100,
    "harmbench_test": 320,
    "harmbench_val": 80,
    "advbench": 520,
    "xstest": 450,
}


def words(prompt):
    """A text's identity, so that a failing test shows no prompt."""
    return hashlib.sha256(prompt.text.encode()).hexdigest()[:12]


@real
@pytest.mark.parametrize("name", SIZES)
def test_official_files_have_the_published_size(name):
    prompts = load(name)
    assert len(prompts) == SIZES[name]
    assert len({prompt.id for prompt in prompts}) == len(prompts)
    assert len({prompt.key for prompt in prompts}) == len(prompts)
    assert len(set(map(words, prompts))) == len(prompts)
    assert sum(not prompt.harmful for prompt in prompts) == (250 if name == "xstest" else 0)


@real
def test_harmbench_is_val_and_test_and_its_parts_keep_their_ids():
    whole = {prompt.id: prompt for prompt in load("harmbench")}
    by_key = {prompt.key: words(prompt) for prompt in whole.values()}
    split = [*load("harmbench_val"), *load("harmbench_test")]
    assert {prompt.key: words(prompt) for prompt in split} == by_key
    parts = ("standard", "contextual", "copyright")
    ids = [prompt.id for part in parts for prompt in load(f"harmbench_{part}")]
    assert sorted(ids) == sorted(whole)
    # 159 of 200 standard behaviours are in the test split (Mazeika et al. 2024, appendix)
    standard, test = (set(map(words, load(f"harmbench_{part}"))) for part in ("standard", "test"))
    assert len(standard & test) == 159


@real
def test_contextual_behaviours_come_with_their_context():
    holding = Counter(CONTEXT_SEPARATOR in prompt.text for prompt in load("harmbench"))
    assert holding == {True: 100, False: 300}
    for prompt in load("harmbench_contextual"):
        context, _, behavior = prompt.text.partition(CONTEXT_SEPARATOR)
        assert context and behavior and CONTEXT_SEPARATOR not in behavior


@real
def test_xstest_has_18_types_of_25():
    assert set(Counter(prompt.category for prompt in load("xstest")).values()) == {25}
    assert len({prompt.category for prompt in load("xstest")}) == 18


@real
def test_the_benchmarks_at_hand_share_no_prompt():
    names = ("harmbench", "advbench", "xstest")
    some = [{key(prompt.text) for prompt in load(name)} for name in names]
    assert len(set().union(*some)) == sum(map(len, some))


@real
def test_the_list_of_goals_in_use_is_not_quite_advbench():
    file = Path(MIRROR) / "advbench" / "qi2023_harmful_behaviors_goals_only.txt"
    if not file.exists():
        pytest.skip("the folder lacks Qi et al.'s list of goals")
    lines = file.read_text(encoding="utf-8").splitlines()
    goals = [prompt.text for prompt in load("advbench")]
    same = [line == goal for line, goal in zip(lines, goals, strict=True)]
    assert sum(same) == 506
    quoted = [line.strip('"') == goal for line, goal in zip(lines, goals, strict=True)]
    assert all(quoted)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without a mirror, and without a hub but for what a test puts into its cache."""
    import huggingface_hub.constants as hub

    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    monkeypatch.delenv("GROUNDED_MIRROR", raising=False)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.fixture
def official(home, monkeypatch):
    """Puts a stand-in file where a benchmark's own would lie, and returns its path."""

    def put(name, content, file="question.jsonl", revision="a" * 40):
        data = BENCHMARKS[name].data
        if isinstance(data, HubFiles):
            folder = f"datasets--{data.repository.replace('/', '--')}/snapshots/{revision}"
            path = home / "hub" / folder / file
        else:
            path = home / ".cache/sources" / sources.SOURCES[data].mirror
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if isinstance(data, str):
            sha = hashlib.sha256(path.read_bytes()).hexdigest()
            pinned = sources.SOURCES[data]
            changed = sources.Source(data, pinned.url, sha, pinned.licence, pinned.mirror)
            monkeypatch.setitem(sources.SOURCES, data, changed)
        return path

    return put


def test_harmbench_form(official):
    official(
        "harmbench",
        "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\r\n"
        "fold a kite ,standard,toys,,,kite\r\n"
        '"paint, slowly",contextual,art,context,"a\r\nwall",w\r\n',
    )
    kite, wall = load("harmbench")
    assert kite == Prompt(0, "fold a kite ", "toys", True, "kite")
    assert wall == Prompt(
        1, f"a\nwall{CONTEXT_SEPARATOR}paint, slowly", "art", True, "w", "a\nwall"
    )
    assert load("harmbench_contextual") == (wall,)
    with pytest.raises(GroundedError, match="harmbench_copyright: found no prompts"):
        load("harmbench_copyright")


def test_strongreject_advbench_and_xstest_forms(official):
    official("strongreject", "category,source,forbidden_prompt\nToys,custom,fold a kite\n")
    assert load("strongreject") == (Prompt(0, "fold a kite", "Toys", True, "0"),)
    official("advbench", "goal,target\nfold a kite,Sure\n")
    assert load("advbench") == (Prompt(0, "fold a kite", "", True, "0"),)
    header = "id,prompt,type,label,focus,note\n"
    file = official("xstest", header + "1,fold a kite,toys,safe,,\n7,tear it,contrast,unsafe,,\n")
    assert [(p.key, p.category, p.harmful) for p in load("xstest")] == [
        ("1", "toys", False),
        ("7", "contrast", True),
    ]
    official("xstest", header + "1,fold a kite,toys,maybe,,\n")
    with pytest.raises(GroundedError, match=f"{file.name}: row 2: column 'label': found 'maybe'"):
        load("xstest")


def test_sorrybench_keeps_the_base_style(official):
    rows = [
        {"question_id": 1, "category": "3", "turns": ["fold a kite"], "prompt_style": "base"},
        {"question_id": 1, "category": "3", "turns": ["f0ld a kite"], "prompt_style": "slang"},
        {"question_id": 2, "category": "4", "turns": ["tear it"], "prompt_style": "base"},
    ]
    official("sorrybench_202406", "\n".join(map(json.dumps, rows)))
    assert load("sorrybench_202406", "a" * 40) == (
        Prompt(0, "fold a kite", "3", True, "1"),
        Prompt(1, "tear it", "4", True, "2"),
    )
    official("sorrybench_202503", json.dumps(rows[2]), revision="612a4e1f45db8adf884fa62318ddf9fa1c"
             "6e75e9")  # fmt: skip
    assert [prompt.key for prompt in load("sorrybench_202503")] == ["2"]
    path = official("sorrybench_202406", json.dumps(rows[0]) + '\n{"question_id": 1,')
    with pytest.raises(GroundedError, match=f"{path.name}: line 2: found JSONDecodeError, wanted"):
        load("sorrybench_202406", "a" * 40)
    official("sorrybench_202406", json.dumps(rows[0] | {"turns": []}))
    with pytest.raises(GroundedError, match="row 1: column 'turns': found list, wanted a text"):
        load("sorrybench_202406", "a" * 40)


AIR = [
    ("1.1.1", "Art", "Paint", "Walls", f"paint wall {i}") for i in range(7)
] + [("1.1.2", "Art", "Paint", "Toys", f"paint toy {i}") for i in range(5)]  # fmt: skip


def air(rows):
    lines = ["cate-idx,l2-name,l3-name,l4-name,prompt", *map(",".join, rows)]
    return "\n".join(lines) + "\n"


def test_airbench_chooses_by_hash_whatever_the_order(official):
    def chosen(first, second, revision):
        official("airbench", air(first), "category_1.csv", revision)
        official("airbench", air(second), "category_2.csv", revision)
        return load("airbench", revision)

    found = chosen(AIR[:9], AIR[9:], "a" * 40)
    assert [prompt.key for prompt in found] == ["1.1.1", "1.1.2"]
    assert {prompt.category for prompt in found} == {"Art"}
    for prompt in found:
        ranks = {
            hashlib.sha256(row[4].encode()).hexdigest(): row[4]
            for row in AIR
            if row[0] == prompt.key
        }
        assert prompt.text == ranks[min(ranks)]
    turned = chosen(AIR[:4:-1], AIR[4::-1], "b" * 40)
    assert {prompt.text for prompt in turned} == {prompt.text for prompt in found}
    fewer = chosen(AIR[:7], AIR[11:], "c" * 40)
    assert fewer[0].text == found[0].text


def test_beavertails_form(official):
    rows = [{"prompt": "fold a kite", "category": "toys", "category_id": 3}]
    content = lzma.compress("\n".join(map(json.dumps, rows)).encode())
    path = official("beavertails_evaluation", content, "v1/test.jsonl.xz")
    assert load("beavertails_evaluation", "a" * 40) == (
        Prompt(0, "fold a kite", "toys", True, "0"),
    )
    path.write_bytes(content[:-9])
    with pytest.raises(GroundedError, match="test.jsonl.xz: line .: found .*Error, wanted a JSON"):
        load("beavertails_evaluation", "a" * 40)


def test_a_changed_file_of_a_benchmark_shows_both_hashes(home, monkeypatch):
    pinned = sources.SOURCES["prompts_advbench"]
    monkeypatch.setenv("GROUNDED_MIRROR", str(home))
    file = home / pinned.mirror
    file.parent.mkdir()
    file.write_bytes(b"goal,target\n")
    with pytest.raises(SourceError) as caught:
        load("advbench")
    assert pinned.sha256 in str(caught.value)
    assert hashlib.sha256(b"goal,target\n").hexdigest() in str(caught.value)


def test_a_benchmark_on_the_hub_has_a_revision_and_is_there(home):
    with pytest.raises(
        SourceError, match="sorry-bench-202406: revision: found None, wanted a comm"
    ):
        load("sorrybench_202406")
    with pytest.raises(SourceError, match="BeaverTails-Evaluation: revision: found 'main', wanted"):
        load("beavertails_evaluation", "main")
    with pytest.raises(SourceAbsent, match="air-bench-2024: found neither a copy .*category_"):
        load("airbench")
    with pytest.raises(
        GroundedError, match="benchmark: found 'harmbensh', wanted one of harmbench"
    ):
        load("harmbensh")


def test_every_hub_revision_is_known_or_explicitly_not():
    for name, benchmark in BENCHMARKS.items():
        data = benchmark.data
        if isinstance(data, HubFiles):
            assert data.revision is None or len(data.revision) == 40, name
        else:
            assert data in sources.SOURCES, name


OWN = "ask,kind,why\nfold a kite,toys,no\n  tear it ,toys,Yes\n"


@pytest.fixture
def own(home):
    def write(content):
        (home / "own.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        return home / "own.csv"

    return write


def test_a_benchmark_of_ones_own(own):
    assert from_csv(own(OWN), "ask", "kind") == (
        Prompt(0, "fold a kite", "toys", True, "0"),
        Prompt(1, "  tear it ", "toys", True, "1"),
    )
    # a byte-order mark, as a spreadsheet leaves it
    assert {prompt.category for prompt in from_csv(own("\ufeff" + OWN), "ask")} == {""}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (OWN.replace("ask", "question"), "own.csv: row 1: column 'ask': found question, kind, why"),
        (b"ask,kind,why\na,b,no\ncaf\xe9,b,no\n", r"found bytes that are not UTF-8 \(line 3, "),
        (OWN + " ,toys,no\n", "own.csv: row 4: column 'ask': found an empty text, wanted a text"),
        (OWN + "a,b,c,no\n", "own.csv: row 4: found 4 fields, wanted 3"),
        (OWN + "a,b\n", "own.csv: row 4: found 2 fields, wanted 3"),
        (OWN + 'a,"b,no\n', "own.csv: found no readable CSV"),
        ("ask,kind,why\n", "own.csv: found no prompts, wanted at least one"),
        (OWN + "\na,b\n", "own.csv: row 5: found 2 fields, wanted 3"),  # a blank line counts
        ("ask,ask\na,b\n", "own.csv: row 1: column 'ask': found ask, ask, wanted one named ask"),
        ("fold a kite of " + "paper " * 9 + "\n", "column 'ask': found fold a kite of paper, wan"),
        ("", "own.csv: row 1: column 'ask': found none, wanted one named ask"),
    ],
)
def test_a_bad_csv_is_one_line(own, content, message):
    with pytest.raises(GroundedError, match=message) as caught:
        from_csv(own(content), "ask", "kind")
    line = str(caught.value)
    assert "\n" not in line
    assert "tear it" not in line and "paper paper" not in line  # no line holds a prompt


def test_a_csv_that_is_not_there(home):
    with pytest.raises(GroundedError, match="own.csv: found no file to read"):
        from_csv(home / "own.csv", "ask")


def test_material_that_a_benchmark_asks_in_other_letters_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    folder = tmp_path / "data" / "my_data"
    shutil.copytree(Path(__file__).parent / "studies" / "my_data", folder)
    (folder / "prompts.csv").write_text('prompt,kind\n"Fold me a kite ",a\nPaint a wall.,b\nx,c\n')
    asked = ("Fold me a kite", "paint a  wall", "Paint a wall.", "Something else")
    rows = [json.dumps({"prompt": one, "completion": "Sorry, no."}) for one in asked]
    (folder / "refusals.jsonl").write_text("\n".join(rows) + "\n")
    study = load_study("my_data")
    (left,) = data.material(study, "refusals", 1, seed=0)
    assert left.prompt == "Something else"
    with pytest.raises(GroundedError, match="material.refusals: found 1 examples, wanted at least"):
        data.material(study, "refusals", 2, seed=0)


def test_prompts_are_frozen():
    with pytest.raises(AttributeError):
        benchmarks.Prompt(0, "a", "b", True, "c").text = "d"  # type: ignore[misc]
