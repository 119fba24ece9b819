"""A study file: what it expands to, and each fault as one clear line."""

from pathlib import Path

import pytest
import yaml

from grounded import study
from grounded.study import Run, StudyError
from grounded.study.asking import MICRO_BENCHMARKS

TINY = Path(__file__).parent / "studies" / "tiny" / "study.yaml"


@pytest.fixture()
def text():
    return TINY.read_text(encoding="utf-8")


def changed(text, path, value):
    """The study file with one value replaced, added or (value ...) taken out."""
    values = yaml.safe_load(text)
    *parents, last = path.split(".")
    here = values
    for name in parents:
        if isinstance(here[name], list):  # the short form of the tasks
            here[name] = {task: {"source": "microworld"} for task in here[name]}
        here = here[name]
    if value is ...:
        del here[last]
    else:
        here[last] = value
    return yaml.safe_dump(values, sort_keys=False)


def test_grid_is_the_product_and_ids_are_natural_keys(text):
    tiny = study.parse(text)
    runs = tiny.runs()
    assert len(runs) == len(tiny.tasks) * len(tiny.lora) * len(tiny.seeds) * len(tiny.models) == 8
    assert len({run.id for run in runs}) == 8
    wanted = Run(
        id="micro-llama-s.yes_no.lora.r4-high.s1", model="micro-llama-s", task="yes_no",
        method="lora", setting="r4-high", rank=4, alpha=8.0, learning_rate=5e-3, seed=1,
    )  # fmt: skip
    assert runs[-1] == wanted
    assert tiny.runs(task="yes_no") == runs[4:]


def test_id_survives_a_changed_learning_rate(text):
    edited = changed(text, "lora.r4-high.learning_rate", 1.0e-3)
    before, after = study.parse(text).runs()[-1], study.parse(edited).runs()[-1]
    assert before.id == after.id
    assert before.learning_rate != after.learning_rate


def test_units_cover_every_run_once_and_the_base_models(text):
    tiny = study.parse(text)
    assert tiny.units() == [
        "micro-llama-s-base", "micro-llama-s-open_instructions", "micro-llama-s-yes_no",
    ]  # fmt: skip
    held = [run.id for unit in tiny.units() for run in tiny.unit_runs(unit)]
    assert held == ["micro-llama-s.base", *(run.id for run in tiny.runs())]
    assert all(run.unit == unit for unit in tiny.units() for run in tiny.unit_runs(unit))


def test_steps_are_whole_and_named_by_epoch(text):
    assert study.parse(text).steps == {2: 0.5, 8: 2.0}
    # 29 examples in batches of 8: the fourth batch is smaller, but a step
    assert study.parse(changed(text, "training.examples", 29)).steps_per_epoch("yes_no") == 4


def test_default_study_is_the_one_that_the_registered_test_was_reckoned_for():
    micro = study.load("micro")
    assert len(micro.models) == 4 and len(micro.tasks) == 5
    assert (len(micro.lora), len(micro.seeds), len(micro.runs())) == (10, 4, 4 * 5 * 10 * 4)
    assert micro.primary_capability == "format_free" and micro.test_items == 200
    assert micro.anchoring is not None and micro.anchoring.tolerance <= 0.06
    assert not {*micro.anchoring.pilot} & {*micro.seeds}
    assert micro.harmful_benchmarks == [n for n in MICRO_BENCHMARKS if n != "borderline"]
    saved = micro.saved_steps("science")
    assert set(micro.steps) <= set(saved) and max(saved) == max(micro.steps)


MORE = {"models": ["micro-llama-s"], "tasks": ["yes_no"]}
FAULTS = [
    ("lora.r4-high.rnak", 4, "lora.r4-high.rnak: found an unknown key, wanted one of rank, alpha,"),
    ("wall", 1, "wall: found an unknown key, wanted one of name, about, models,"),
    ("judges.harm.depth", 1, "judges.harm.depth: found an unknown key, wanted one of hidden_size"),
    ("lora.r4-high.rank", "four", "lora.r4-high.rank: found 'four', wanted a whole number"),
    ("lora.r4-high.rank", True, "lora.r4-high.rank: found True, wanted a whole number"),
    ("lora.r4-high.rank", 4.5, "lora.r4-high.rank: found 4.5, wanted a whole number"),
    ("lora.r4-high.rank", 0, "lora.r4-high.rank: found 0, wanted more than 0"),
    ("lora.r4-high.learning_rate", "low", "learning_rate: found 'low', wanted a number"),
    ("judges.harm.layers", "two", "judges.harm.layers: found 'two', wanted a whole number"),
    ("judges.harm.kind", "taste", "judges.harm.kind: found 'taste', wanted 'harm' or 'compl"),
    ("judges.harm.source", "moon", "judges.harm: found kind 'harm', source 'moon', wanted a map"),
    ("judges.harm", {"kind": "harm", "source": "public"}, "judges.harm.judge: found nothing, wan"),
    ("tasks.yes_no", {"source": "public"}, "tasks.yes_no.data: found nothing, wanted a value, for"),
    (
        "tasks.yes_no", {"source": "microworld", "device_batch_size": 2},
        "tasks.yes_no.device_batch_size: found 2, wanted nothing: its examples are short",
    ),
    ("benchmarks.orders", 0, "benchmarks.orders.prompts: found 0, wanted more than 0"),
    ("alignment", ..., "alignment: found nothing, wanted a mapping, for its models are made here"),
    ("training", ..., "training: found nothing, wanted a mapping (or runs under given)"),
    ("training.examples", ..., "tasks.open_instructions.examples: found nothing, wanted a number"),
    (
        "variants", {"deep": {"of": "micro-gpt", "alignment_steps": 9}},
        "variants.deep.of: found micro-gpt, wanted one of micro-llama-s",
    ),
    (
        "arms", {"more": {**MORE, "methods": {"hope": []}}},
        "arms.more.methods: found 'hope', wanted one of lora, safe_lora",
    ),
    (
        "arms", {"more": {**MORE, "methods": {"lora": []}}},
        "arms: found micro-llama-s.yes_no.lora.r2-low.s0, wanted each run once (duplicate run)",
    ),
    ("judges.keywords_micro.list", "mine", "judges.keywords_micro.list: found 'mine', wanted 'adv"),
    ("seeds", 3, "seeds: found 3, wanted a list"),
    ("training.epochs", ..., "training.epochs: found nothing, wanted a value"),
    ("minimum_mass", 1.5, "minimum_mass: found 1.5, wanted at most 1.0"),
    ("minimum_mass", float("nan"), "minimum_mass: found nan, wanted a finite number"),
    ("tasks", ["yes_no", "chess"], "tasks.chess: found 'chess', wanted one of open_instructions, "),
    ("benchmarks.riddles", 5, "benchmarks.riddles: found 'riddles', wanted one of orders, ques"),
    ("models.micro-llama-s.source", "moon", "models.micro-llama-s.source: found 'moon', wanted"),
    ("models.micro-llama-s.heads", 3, "models.micro-llama-s.hidden_size: found 32, wanted a mult"),
    ("judges.harm.heads", 3, "judges.harm.hidden_size: found 32, wanted a multiple of 2 x heads"),
    ("models", {}, "models: found {}, wanted at least one (the grid is empty)"),
    ("tasks", [], "tasks: found {}, wanted at least one (the grid is empty)"),
    ("lora", {}, "lora: found {}, wanted at least one (the grid is empty)"),
    ("seeds", [], "seeds: found [], wanted at least one (the grid is empty)"),
    ("measure_at", [], "measure_at: found [], wanted at least one"),
    ("seeds", [0, 1, 0], "seeds: found 0, wanted each run once (duplicate run)"),
    ("tasks", ["yes_no", "yes_no"], "tasks: found yes_no, wanted each run once (duplicate run)"),
    (
        "lora.twin", {"rank": 4, "alpha": 8, "learning_rate": 5e-3},
        "lora.twin: found the values of r4-high, wanted each run once (duplicate run)",
    ),
    ("judges.micro-llama-s", {"kind": "keywords", "list": "micro"}, "judges.micro-llama-s: found"),
    ("lora.R4 high", {"rank": 4, "alpha": 8, "learning_rate": 1.0}, "lora.R4 high: found 'R4"),
    ("measure_at", [2, 1], "measure_at: found [2.0, 1.0], wanted epochs that rise"),
    ("measure_at", [3], "measure_at: found 3.0, wanted at most training.epochs (2)"),
    ("measure_at", [1e-9, 2], "measure_at: found 1e-09, wanted a whole number of steps of 1/4"),
    ("measure_at", [1, 1 + 1e-9], "wanted a whole number of steps of 1/4 epoch, each once"),
    ("absent", {"judges.harm": "why"}, "absent: found an unknown key, wanted one of name, about"),
    ("measure_at", [0.01, 1], "measure_at: found 0.01, wanted a whole number of steps of 1/4"),
    ("ours.training.epoch", "why", "ours.training.epoch: found training.epoch, wanted the path of"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "line"), FAULTS)
def test_each_fault_is_one_line_with_file_field_found_and_wanted(text, path, value, line):
    if path == "ours.training.epoch":
        edited = changed(text, "ours", {"training.epoch": value})
    else:
        edited = changed(text, path, value)
    with pytest.raises(StudyError) as error:
        study.parse(edited, "data/tiny/study.yaml")
    message = str(error.value)
    assert message.startswith("data/tiny/study.yaml: ")
    assert line in message
    assert "wanted" in message and "\n" not in message and "pydantic" not in message


def test_each_fault_has_a_line_of_its_own(text):
    edited = changed(changed(text, "seeds", 3), "lora.r4-high.rank", "four")
    with pytest.raises(StudyError) as error:
        study.parse(edited)
    assert len(str(error.value).splitlines()) == 2


def test_a_key_given_twice_is_refused_rather_than_the_last_one_kept(text):
    with pytest.raises(StudyError, match="found the key 'test_items' twice"):
        study.parse(text.replace("test_items: 8", "test_items: 8\ntest_items: 9"))


def test_a_number_is_what_it_looks_like_and_all_else_is_text(text):
    odd = ("010", "1:30", "0x1F", "0o17", "1_0", "2026-01-01", "2026-99-99", "yes", "9" * 5000)
    for written in odd:
        with pytest.raises(StudyError) as error:
            study.parse(text.replace("seeds: [0, 1]", f"seeds: [{written}, 1]"))
        assert f"seeds.0: found '{written[:50]}" in str(error.value)
        assert str(error.value).endswith("wanted a whole number")
    small = study.parse(text.replace("learning_rate: 5.0e-4", "learning_rate: 5e-4"))
    assert small == study.parse(text) and small.lora["r2-low"].learning_rate == 5e-4


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ("a: &a [x, x]\nb: [*a, *a]\n", "line 1, column 4: found an anchor or an alias"),
        ("a: &a [*a]\n", "line 1, column 4: found an anchor or an alias"),
        ("a: *b\n", "line 1, column 4: found an anchor or an alias"),
        ("a: " + "[" * 5000 + "]" * 5000, "line 1, column 24: found more than 20 levels"),
        ("a: !!timestamp 2026-99-99\n", "line 1, column 4: found a tag"),
        ('a: "\\ud800"\n', "line 1, column 4: found a control character, or half a surrogate"),
        ('a: "x\\0"\n', "line 1, column 4: found a control character, or half a surrogate"),
        ("a: " + "x" * 1_000_000, "found 1,000,003 characters, at most 1,000,000 are read"),
    ],
    ids=lambda text: text[:12],
)
def test_what_plain_data_needs_nothing_of_is_refused_where_it_stands(odd, told):
    with pytest.raises(StudyError) as error:
        study.parse(odd, "data/x/study.yaml")
    assert str(error.value).startswith(f"data/x/study.yaml: {told}")
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_text_is_one_line(text, tmp_path, monkeypatch):
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    file = tmp_path / "data" / "tiny" / "study.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(text.replace("about: The", "about: T\xfc").encode("latin-1"))
    with pytest.raises(StudyError, match="data/tiny/study.yaml: found .*0xfc.*, wanted a text in"):
        study.load("tiny")
    file.write_bytes(b"\xef\xbb\xbf" + text.encode())  # as Windows' editors begin a file
    assert study.load("tiny") == study.parse(text)
    file.unlink()
    file.mkdir()
    with pytest.raises(
        StudyError, match="data/tiny/study.yaml: found Is a directory, wanted a fil"
    ):
        study.load("tiny")


@pytest.mark.parametrize("broken", ["models: [", "", "- a\n- b"])
def test_text_that_is_no_study_is_one_line(broken):
    with pytest.raises(StudyError) as error:
        study.parse(broken, "data/x/study.yaml")
    assert str(error.value).startswith("data/x/study.yaml: ")
    assert "\n" not in str(error.value)


def test_unknown_names_say_what_there_is(text, tmp_path, monkeypatch):
    tiny = study.parse(text)
    for call in (tiny.model, tiny.judge, tiny.runs, lambda n: tiny.runs(task=n), tiny.unit_runs):
        with pytest.raises(StudyError, match="found 'nowhere', wanted one of"):
            call("nowhere")
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    folder = tmp_path / "data" / "tiny"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=r"data/none/study.yaml: found no such file.*\(tiny\)"):
        study.load("none")
    folder.rename(tmp_path / "data" / "other")
    with pytest.raises(StudyError, match="name: found 'tiny', wanted its folder's name 'other'"):
        study.load("other")
