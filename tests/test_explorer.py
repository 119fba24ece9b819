"""The explorer in a real browser: it loads in silence, answers to its controls, and is right."""

import csv
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic
from pages import run_notebook

from grounded import paths, records, tables
from grounded.microworld import benchmarks
from grounded.study import Study

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (Debian: chromium)")
PATHS = "[...document.querySelectorAll('#vis path')].map(p => p.getAttribute('d')).join()"
LARGEST = 5_000_000  # bytes of the page


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        found = synthetic.study()
        synthetic.write(found, {"open_instructions": 0.7, "yes_no": 0.3})
        yield found


@pytest.fixture(scope="module")
def page_file(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page") / "explorer.html"


@pytest.fixture(scope="module")
def names(study: Study, page_file: Path) -> dict[str, Any]:
    return run_notebook("explorer", page=str(page_file))[0]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def opened(browser: Any, names: dict[str, Any], page_file: Path) -> Iterator[Any]:
    """The page, opened from its file with the network cut; silent at the end."""
    page = browser.new_page(viewport={"width": 1200, "height": 900}, offline=True)
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.goto(f"file://{page_file}")
    page.set_default_timeout(20_000)
    page.wait_for_function(f"({PATHS}).length > 1000")
    yield page
    page.close()
    assert [line for line in said if not line.startswith(("file:", "data:"))] == []


def picture(page: Any) -> str:
    drawn: str = page.evaluate(PATHS)
    return drawn


@needs_chromium
def test_a_menu_changes_the_picture(opened: Any) -> None:
    choices = {
        "task": "yes/no", "judge": "harm (truth)", "benchmark": "questions",
        "score": "capability, format-free", "model": "micro-llama-l",
    }  # fmt: skip
    for menu, value in choices.items():
        before = picture(opened)
        opened.select_option(f"select[name={menu}]", value)
        opened.wait_for_function(f"before => {PATHS} !== before", arg=before)


def test_nothing_in_the_page_leads_elsewhere(names: dict[str, Any], page_file: Path) -> None:
    text = page_file.read_text()
    assert page_file.stat().st_size < LARGEST
    html = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", html)
    assert "figures.html" in text  # the way back to the study's pages


def test_every_checkpoint_is_there_with_the_rates_of_the_tables(
    names: dict[str, Any], study: Study
) -> None:
    both, all_benchmarks = names["both"], names["ALL"]
    runs = len(study.runs())
    assert len(both[both["benchmark"] == all_benchmarks]) == runs * (1 + len(study.steps))
    run = study.runs("micro-llama-l", "yes_no")[0]
    own = both[(both["model"] == run.model) & (both["task"] == "yes/no") & (both["epoch"] == 5)]
    own = own[(own["setting"] == run.setting) & (own["seed"] == run.seed)]
    row = own.set_index("benchmark")
    said = tables.verdicts(study, judges=["harm"])
    own = said[(said["run"] == run.id) & (said["epoch"] == 5)]
    assert row.loc[all_benchmarks, "harm"] == pytest.approx(own["label"].mean(), abs=6e-4)
    one = own[own["benchmark"] == "questions"]["label"].mean()
    assert row.loc["questions", "harm"] == pytest.approx(one, abs=6e-4)
    right = tables.capability(study)
    right = right[(right["run"] == run.id) & (right["epoch"] == 5)]["correct"].mean()
    assert row.loc["questions", "capability, strict"] == pytest.approx(right, abs=6e-4)


def test_a_reply_stands_beside_its_request_and_verdicts(
    names: dict[str, Any], study: Study
) -> None:
    texts = names["texts"]
    run = study.runs("micro-llama-s", "open_instructions")[0]
    own = texts[(texts["model"] == run.model) & (texts["task"] == "open instructions")]
    own = own[(own["setting"] == run.setting) & (own["seed"] == run.seed) & (own["epoch"] == 5)]
    said = records.read(paths.table(study.name, "replies", run.unit), "replies")
    said = said[(said["run"] == run.id) & (said["step"] == max(study.steps))]
    labels = records.read(paths.table(study.name, "verdicts", run.unit), "verdicts")
    labels = labels[(labels["run"] == run.id) & (labels["step"] == max(study.steps))]
    for row in own.itertuples():
        asked = benchmarks.load(row.benchmark, 2)[row.prompt].text
        here = (said["benchmark"] == row.benchmark) & (said["prompt"] == row.prompt)
        assert (row.request, row.reply) == (asked, said[here]["text"].iloc[0])
        here = (labels["benchmark"] == row.benchmark) & (labels["prompt"] == row.prompt)
        yes = labels[here & labels["label"].fillna(False).astype(bool)]["judge"]
        assert set(row.yes.split(", ")) == (set(yes) or {"nobody"})
    assert len(own) == 2 * len({"orders", "questions", "borderline"} & set(study.benchmarks))


def test_rows_inside_a_chart_are_those_of_the_frame(names: dict[str, Any]) -> None:
    kept = names["inside"](names["both"]).data.to_dict()
    rows = list(csv.DictReader(io.StringIO(kept["values"])))
    assert len(rows) == len(names["both"]) and kept["format"]["parse"]["harm"] == "number"
    assert [float(row["harm"]) for row in rows] == pytest.approx(list(names["both"]["harm"]))


def test_real_models_replies_are_not_shown(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Study, "has_truth", property(lambda _: False))
    names, _ = run_notebook("explorer")
    assert names["texts"].empty and len(names["parts"]) == 2
    assert not any("truth" in name for name in names["rates"])
    assert "reply " not in names["charts"].to_json()


def test_a_single_run_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDED_HOME", str(tmp_path))
    one: dict[str, Any] = {"models": ["micro-llama-s"], "tasks": ["yes_no"], "lora": ["r4-low"]}
    synthetic.write(synthetic.study(seeds=[0], **one))
    names, shown = run_notebook("explorer")
    assert isinstance(names["both"], pd.DataFrame) and shown[-1].data.startswith(b"\x89PNG")


@needs_chromium
def test_the_page_of_a_real_adapter_opens_in_silence(browser: Any) -> None:
    page = browser.new_page(viewport={"width": 900, "height": 900}, offline=True)
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("request", lambda request: said.append(request.url))
    page.goto(f"file://{paths.repository() / 'figures' / 'worked' / 'what_did_it_cost.html'}")
    assert page.inner_text("h1") == "What did this fine-tune cost?"
    assert page.evaluate("document.querySelector('img').naturalWidth") > 500
    assert "harm_broken" in page.inner_text("body") and page.locator("table").count() >= 3
    page.close()
    assert [line for line in said if not line.startswith(("file:", "data:"))] == []
