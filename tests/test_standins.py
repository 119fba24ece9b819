"""Every model, judge and data set of a real study, through the download code itself, on stand-ins.

A stand-in of the model hub serves them on loopback; each question is put by a process of its own.
`asking.ask` fails where a token shows in anything that such a process writes.
"""

import hashlib
import re

import pytest
import tiny_judges as tiny
from standins import datasets as data_standins
from standins import judges as judge_standins
from standins import models as model_standins
from standins.asking import ask
from standins.build import build
from standins.hub import MEMBER, STRANGER, Hub

from grounded import sources
from grounded.public.benchmarks import BENCHMARKS, CONTEXT_SEPARATOR
from grounded.public.judges import JUDGES
from grounded.public.tasks import TASKS

LLAMA_1B, LLAMA_8B, QWEN_4B, QWEN_8B = model_standins.MAKERS
SORRY, AIR = "sorry-bench/sorry-bench-202406", "stanford-crfm/air-bench-2024"
EXPIRED = "hf_standinExpiredToken"


@pytest.fixture(scope="session")
def stock(tmp_path_factory):
    return build(tmp_path_factory.mktemp("stock"))


@pytest.fixture
def hub(stock):
    with Hub(stock).serving() as running:
        yield running


@pytest.fixture
def home(tmp_path):
    """A user's home: an empty cache, and no login."""
    (tmp_path / "hub").mkdir()
    return tmp_path


@pytest.fixture
def login(home):
    """As `hf auth login` leaves it: the token in a file of the hub's own."""
    (home / "hub" / "token").write_text(MEMBER)


def of(stock, name, *patterns, **changes):
    """HubFiles' fields for a repository of the stock."""
    kind = stock.repositories[name].kind.removesuffix("s")
    fields = {"repository": name, "patterns": patterns, "revision": stock.commit(name)}
    return fields | {"kind": kind, "licence": "its own licence"} | changes


def sha256(stock, name, file):
    return hashlib.sha256((stock.repositories[name].folder / file).read_bytes()).hexdigest()


# ---------------------------------------------------------------- what there is, loads


def test_main_is_a_commit_that_a_study_can_keep(hub, home, stock):
    kinds = {LLAMA_8B: "model", QWEN_4B: "model", SORRY: "dataset", AIR: "dataset"}
    found = ask(hub, home, "commits", names=kinds)
    assert found == {name: stock.commit(name) for name in kinds}
    assert all(re.fullmatch("[0-9a-f]{40}", commit) for commit in found.values())


def test_every_model_loads_and_replies(hub, home, stock, login):
    revisions = {name: stock.commit(name) for name in model_standins.MAKERS}
    found = ask(hub, home, "models", revisions=revisions)
    kinds = {name: (one["class"], one["tied"]) for name, one in found.items()}
    assert kinds == {
        LLAMA_1B: ("LlamaForCausalLM", True),
        LLAMA_8B: ("LlamaForCausalLM", False),
        QWEN_4B: ("Qwen3ForCausalLM", True),
        QWEN_8B: ("Qwen3ForCausalLM", False),
    }
    for name, one in found.items():
        assert one["replies"][:2] == one["replies"][2:], name  # greedy, though its file would not
        assert all(0 < tokens <= 8 for _, _, tokens in one["replies"]), name
        assert len(one["weights"]) == (1 if one["tied"] else 2), name
        assert one["pickles"] == [], name
    assert not any(asked.path.endswith(".pth") for asked in hub.asked)
    off, dated, plain = found[QWEN_4B]["asked"]
    assert off == plain + "<think>\n\n</think>\n\n" and dated == plain
    (_, small, clock), (_, large, fixed) = found[LLAMA_1B]["asked"], found[LLAMA_8B]["asked"]
    assert "Day: 02 Feb 2024" in small and "Day: 02 Feb 2024" in large
    # told no date, one of the two asks the clock
    assert "Day: 01 Jan 2024" in fixed and "Day: 01 Jan 2024" not in clock


def test_every_published_judge_loads_by_its_hub_id_and_judges(hub, home, stock, login):
    commits = {name: repository.commit for name, repository in stock.repositories.items()}
    texts = {
        name: str(stock.web / address.removeprefix("https://"))
        for name, address in judge_standins.FILES.items()
    }
    found = ask(hub, home, "judges", revisions=commits, texts=texts)
    assert set(found) == set(JUDGES)
    for name, one in found.items():
        assert "error" not in one, one
        repository = JUDGES[name].files.repository
        assert one["found"]["revision"].startswith(f"{repository}@{commits[repository]}"), name
        if name.startswith("qwen3guard") and name.endswith("compliance"):
            # the stand-in writes its labels and no line of the refusal
            assert not any(parsed for _, parsed, _ in one["found"]["verdicts"])
            continue
        for label, parsed, mass in one["found"]["verdicts"]:
            assert parsed and label in (True, False) and mass > 0.9, name
    verdicts = [verdict for one in found.values() for verdict in one["found"]["verdicts"]]
    assert {label for label, *_ in verdicts if label is not None} == {True, False}  # they read
    prompt_texts = {
        "llama_guard_3_8b": tiny.GUARD_8B, "llama_guard_3_1b": tiny.GUARD_1B,
        "granite_guardian_3.1_8b": tiny.GRANITE, "sorry_bench": tiny.SORRY,
        "strongreject": tiny.STRONGREJECT, "wildguard_harm": tiny.WILDGUARD,
    }  # fmt: skip
    for name, text in prompt_texts.items():
        assert found[name]["found"]["template"] == hashlib.sha256(text.encode()).hexdigest(), name


def test_every_task_loads_from_where_it_is_published(hub, home, stock):
    sizes = {
        "alpaca15k": (6, 2), "alpaca15k_filtered": (4, 2), "gsm8k": (6, None),
        "science10k_sciq": (5, None), "arc_challenge": (4, None),
        "arc_challenge_letters": (3, None), "boolq": (5, None),
    }  # fmt: skip
    found = ask(hub, home, "tasks", token=MEMBER, sizes=sizes)
    small = {"arc_easy", "boolq_validation", "instructions", "instructions_alignment"}
    # those of the study smol are single files, or made here: no repository to stand in for
    assert set(found) == set(TASKS) - small - {"country_facts"}
    assert not [one["error"] for one in found.values() if one.get("error")]
    of_test = {name: len(one["found"]["test"]) for name, one in found.items()}
    assert of_test == {
        "alpaca15k": 2, "alpaca15k_filtered": 2, "gsm8k": 4, "science10k_sciq": 2,
        "arc_challenge": 4, "arc_challenge_letters": 4, "boolq": 3,
    }  # fmt: skip
    for name, one in found.items():
        assert len(one["found"]["train"]) == sizes[name][0] and one["found"]["again"], name
    # the fifth row of train is asked in test; labels are letters or digits, choices three to five
    arc = found["arc_challenge"]["found"]
    assert not set(arc["train"]) & set(arc["test"])
    assert arc["choices"] == [4, 4, 3, 5]
    # all are drawn: but for the row without an output, and for those that are safety-related
    every = [f"Name a {subject}." for subject in data_standins.SUBJECTS]
    for name, wanted in (("alpaca15k", every), ("alpaca15k_filtered", every[2:])):
        prompts = [*found[name]["found"]["train"], *found[name]["found"]["test"]]
        assert sorted(prompt.splitlines()[0] for prompt in prompts) == sorted(wanted)
    web = [asked for asked in hub.asked if asked.path.startswith("/web/")]
    assert web and not any(asked.token for asked in web)  # the hub's token is for the hub


def test_every_benchmark_loads_from_where_it_is_published(hub, home, stock, login):
    revisions = {
        name: stock.commit(benchmark.data.repository)
        for name, benchmark in BENCHMARKS.items()
        if not isinstance(benchmark.data, str)
    }
    answers = ask(hub, home, "benchmarks", revisions=revisions)
    # this stand-in of AdvBench is shorter than the part that an alignment sees
    unseen = answers.pop("advbench_unseen")
    assert unseen["error"] == "advbench_unseen: found no prompts, wanted at least one"
    assert set(answers) == set(BENCHMARKS) - {"advbench_unseen"}
    assert not [one["error"] for one in answers.values() if one.get("error")]
    found = {name: one["found"] for name, one in answers.items()}
    assert {name: len(prompts) for name, prompts in found.items()} == {
        "harmbench": 8, "harmbench_standard": 4, "harmbench_contextual": 2,
        "harmbench_copyright": 2, "harmbench_test": 6, "harmbench_val": 2, "strongreject": 6,
        "strongreject_small": 2, "advbench": 5, "xstest": 8, "xstest_safe": 4, "xstest_unsafe": 4,
        "sorrybench_202406": 6, "sorrybench_202503": 4, "airbench": 5, "beavertails_evaluation": 8,
    }  # fmt: skip
    context = f"A river,\nflat.{CONTEXT_SEPARATOR}Fold a river "
    assert found["harmbench_contextual"][0] == [context, "toys", True, "river"]
    assert [harmful for _, _, harmful, _ in found["xstest"]] == [False, True] * 4
    assert found["sorrybench_202503"][0] == ["Fold a kite", "1", True, "1"]
    assert [key for _, _, _, key in found["airbench"]] == ["1.0", "1.1", "1.2", "2.0", "2.1"]
    assert found["airbench"][0][0].endswith(".\nSlowly.")
    assert not any(asked.path.endswith("judge_prompts.csv") for asked in hub.asked)


# ---------------------------------------------------------------- gates


def gated(stock):
    return [
        of(stock, LLAMA_8B, "*.json"),
        of(stock, SORRY, "question.jsonl"),
        of(stock, QWEN_4B, "config.json"),
    ]


@pytest.mark.parametrize("token", [None, STRANGER])
def test_a_gate_is_one_line_and_what_is_open_still_comes(hub, home, stock, token):
    llama, sorry, qwen = ask(hub, home, "files", token=token, wanted=gated(stock))
    for name, one in ((LLAMA_8B, llama), (SORRY, sorry)):
        assert one["kind"] == "NoAccess"
        assert one["error"].startswith(f"{name}: found a gated repository and no access to it")
        assert "its own licence" in one["error"] and "hf auth login" in one["error"]
        assert "\n" not in one["error"]
    assert qwen["found"] == {"config.json": sha256(stock, QWEN_4B, "config.json")}
    refused = {asked.status for asked in hub.asked if asked.status >= 400}
    assert refused == {403 if token else 401}


def test_a_gate_opens_for_a_login_and_for_a_token_at_hand(hub, home, stock, login):
    logged_in = ask(hub, home, "files", wanted=gated(stock))
    assert all("found" in one for one in logged_in)
    (home / "hub" / "token").unlink()
    again = ask(hub, home, "files", token=MEMBER, wanted=[of(stock, LLAMA_8B, "*.safetensors")])
    parts = {file: sha256(stock, LLAMA_8B, file) for file in again[0]["found"]}
    assert again[0]["found"] == parts and len(parts) > len(logged_in[0]["found"]) > 1


@pytest.mark.parametrize("token", [None, STRANGER, MEMBER])
def test_access_can_be_asked_for_before_anything_is_downloaded(hub, home, token):
    kinds = {LLAMA_8B: "model", SORRY: "dataset", QWEN_4B: "model"}
    shut = None if token == MEMBER else "GatedRepoError"
    found = ask(hub, home, "access", token=token, names=kinds)
    assert found == {LLAMA_8B: shut, SORRY: shut, QWEN_4B: None}
    # everybody may see what a gated repository holds, so a listing tells nothing of access
    assert set(ask(hub, home, "commits", token=token, names=kinds)) == set(kinds)
    assert not any("/resolve/" in asked.path for asked in hub.asked)


def test_a_token_that_the_hub_does_not_take_is_one_line(hub, home, stock):
    for one in ask(hub, home, "files", token=EXPIRED, wanted=gated(stock)):
        assert one["kind"] == "NoAccess"
        assert "found a token that the hub does not take" in one["error"]
        assert "hf auth login" in one["error"] and "\n" not in one["error"]


# ---------------------------------------------------------------- what is wrong or breaks


def test_a_wrong_revision_a_missing_file_and_a_missing_repository(hub, home, stock):
    revision, file, repository = ask(
        hub, home, "files",
        wanted=[
            of(stock, QWEN_4B, "config.json", revision="b" * 40),
            of(stock, AIR, "gone_*.csv"),
            of(stock, QWEN_4B, "config.json", repository="Qwen/Qwen3-4X"),
        ],
    )  # fmt: skip
    assert revision["kind"] == "SourceError"
    assert revision["error"].startswith(f"{QWEN_4B}: revision: found none that is {'b' * 40}")
    assert file["error"].startswith(f"{AIR}: found neither a copy nor a way to it (no file of ")
    assert repository["error"].startswith("Qwen/Qwen3-4X: found no such model on the hub")


def test_a_download_that_is_cut_goes_on_where_it_was(hub, home, stock):
    hub.cut["model.safetensors"] = 1
    wanted = [of(stock, QWEN_4B, "*.safetensors")]
    (found,) = ask(hub, home, "files", wanted=wanted, piece=1024)
    assert found["found"]["model.safetensors"] == sha256(stock, QWEN_4B, "model.safetensors")
    first, second = hub.downloads("model.safetensors")
    size = (stock.repositories[QWEN_4B].folder / "model.safetensors").stat().st_size
    assert (first.range, second.range) == ("", f"bytes={size // 2 // 1024 * 1024}-")


def test_half_a_download_is_never_used(hub, home, stock):
    wanted = [of(stock, QWEN_4B, "config.json", "*.safetensors")]
    hub.cut["model.safetensors"], hub.after["model.safetensors"] = 1, 503
    (broken,) = ask(hub, home, "files", wanted=wanted)
    assert broken["kind"] == "SourceAbsent" and "\n" not in broken["error"]
    assert broken["error"].startswith(f"{QWEN_4B}: found neither a copy nor a way to it (")
    (offline,) = ask(hub, home, "files", offline=True, wanted=wanted)
    assert offline["kind"] == "SourceAbsent" and "\n" not in offline["error"]
    hub.after.clear()
    (whole,) = ask(hub, home, "files", wanted=wanted)
    assert whole["found"]["model.safetensors"] == sha256(stock, QWEN_4B, "model.safetensors")
    assert ask(hub, home, "files", offline=True, wanted=wanted) == [whole]


def test_a_hub_that_hangs_up_is_one_line(hub, home, stock):
    hub.after["question.jsonl"] = 0
    (found,) = ask(hub, home, "files", token=MEMBER, wanted=[of(stock, SORRY, "question.jsonl")])
    assert found["kind"] == "SourceAbsent" and "\n" not in found["error"]
    assert found["error"].startswith(f"{SORRY}: found neither a copy nor a way to it (")


def test_half_a_file_of_the_web_is_never_used(hub, home, stock):
    address = sources.SOURCES["prompts_advbench"]
    hub.cut[address.url.removeprefix("https:/")] = 1
    broken = ask(hub, home, "source", name=address.name)
    assert broken["kind"] == "SourceAbsent" and "\n" not in broken["error"]
    assert not any(path.is_file() for path in (home / ".cache").rglob("*"))
    content = (stock.web / address.url.removeprefix("https://")).read_bytes()
    whole = ask(hub, home, "source", name=address.name)
    assert whole == {"found": hashlib.sha256(content).hexdigest()}
    hub.cut["alpaca_data.json"] = 1
    sizes = {
        "alpaca15k": (5, 2),
        "alpaca15k_filtered": (4, 2),
    }  # the same file, one after the other
    broken, second = ask(hub, home, "tasks", sizes=sizes).values()
    assert broken["kind"] == "SourceAbsent" and "alpaca_data.json" in broken["error"]
    assert len(second["found"]["train"]) == 4


def test_a_token_in_what_a_process_says_would_be_seen(hub, home, login):
    with pytest.raises(AssertionError, match="found a token in what a process said"):
        ask(hub, home, "commits", names={MEMBER: "model"})
