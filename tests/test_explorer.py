"""The explorer in a real browser: it loads in silence, answers to its controls, and is right."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import synthetic
from test_anchoring_help import ASKED

from grounded import explorer, paths, records
from grounded.explorer.numbers import ALL
from grounded.explorer.page import LARGEST
from grounded.statistics import frames
from grounded.study import Study

CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (Debian: chromium)")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_HOME", str(tmp_path_factory.mktemp("home")))
        asked = {**ASKED, "mitigations": None, "depths": None}
        found = synthetic.study(anchoring=asked)
        synthetic.write(found, {"open_instructions": 0.7, "yes_no": 0.3})
        yield found


@pytest.fixture(scope="module")
def page_file(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "explorer.html"
    assert explorer.write(study, file) == file.stat().st_size < LARGEST
    return file


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def opened(browser: Any, page_file: Path) -> Iterator[Any]:
    """The page, opened from its file with the network cut; silent at the end."""
    page = browser.new_page(viewport={"width": 1200, "height": 900}, offline=True)
    said: list[str] = []
    page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url))
    page.goto(f"file://{page_file}")
    page.set_default_timeout(20_000)
    page.wait_for_function("window.explorer && window.explorer.ready")
    yield page
    page.close()
    assert [line for line in said if not line.startswith(("file:", "data:"))] == []


def choose(page: Any, **chosen: str) -> None:
    for name, value in chosen.items():
        page.select_option(f"#{name.replace('_', '-')}", value)


def table(page: Any, name: str) -> list[list[str]]:
    rows: list[list[str]] = page.eval_on_selector_all(
        f"#{name} tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )
    return rows


@needs_chromium
def test_it_loads_in_silence_and_draws_every_chart(opened: Any) -> None:
    for name in ("accuracy", "harm", "compliance", "coherent", "anchored"):
        assert opened.locator(f"#{name} svg path").count() > 5, name
    assert opened.title().startswith("Explorer")
    assert "synthetic" in opened.inner_text("h1")


@needs_chromium
def test_a_control_changes_the_picture_and_the_numbers(opened: Any) -> None:
    before = opened.inner_html("#harm svg"), table(opened, "numbers")
    choose(opened, task="yes_no")
    after = opened.inner_html("#harm svg"), table(opened, "numbers")
    assert before[0] != after[0] and before[1] != after[1]
    choose(opened, seed="1", setting="r32-high")
    assert opened.inner_text("#selection").startswith("1 run of micro-llama-s on yes/no")
    anchored = table(opened, "anchored-numbers")
    choose(opened, harm_judge="truth:harm")
    assert table(opened, "anchored-numbers") != anchored


@needs_chromium
def test_it_is_used_by_keyboard(opened: Any) -> None:
    opened.focus("#model")
    first = opened.inner_text("#selection")
    opened.keyboard.press("ArrowDown")
    assert opened.input_value("#model") == "micro-llama-l"
    assert opened.inner_text("#selection") != first
    order = []
    for _ in range(6):
        opened.keyboard.press("Tab")
        order.append(opened.evaluate("document.activeElement.id"))
    assert order == ["task", "setting", "seed", "benchmark", "harm-judge", "compliance-judge"]
    unlabelled = opened.eval_on_selector_all(
        "select", "s => s.filter(x => !x.labels.length).length"
    )
    assert unlabelled == 0


@needs_chromium
def test_it_fits_a_phone(opened: Any) -> None:
    opened.set_viewport_size({"width": 375, "height": 800})
    # charts are fitted one by one after the window has changed
    opened.wait_for_function("document.documentElement.scrollWidth <= 375")
    for name in ("accuracy", "anchored"):
        assert opened.locator(f"#{name} svg").bounding_box()["width"] < 375


@needs_chromium
@pytest.mark.parametrize("benchmark", [ALL, "questions", "borderline"])
def test_the_numbers_shown_are_those_of_the_tables(
    opened: Any, study: Study, benchmark: str
) -> None:
    model, task, judge, other = "micro-llama-l", "yes_no", "harm", "keywords_micro"
    choose(opened, model=model, task=task, benchmark=benchmark, harm_judge=judge,
           compliance_judge=other)  # fmt: skip
    shown = {row[0]: row[1:] for row in table(opened, "numbers")}
    wanted = study.harmful_benchmarks if benchmark == ALL else [benchmark]
    said = records.read(paths.table(study.name, "verdicts", f"{model}-{task}"), "verdicts")
    said = said[said["benchmark"].isin(wanted)]
    language = records.read(paths.table(study.name, "coherence", f"{model}-{task}"), "coherence")
    language = language[(language["detector"] == "combined") & language["benchmark"].isin(wanted)]
    able = frames.capability(study)
    able = able[(able["model"] == model) & (able["task"] == task)]
    assert list(shown) == ["0 (base)", "0.5", "1", "3", "5"]
    for step, epoch in study.steps.items():
        values = [able.loc[able["step"] == step, "capability"].mean()]
        for name in (judge, other):
            own = said[(said["judge"] == name) & (said["step"] == step)]
            values.append(own.groupby("run", observed=True)["label"].mean().mean())
        own = language[language["step"] == step]
        values.append(own.groupby("run", observed=True)["label"].mean().mean())
        for text, value in zip(shown[f"{epoch:g}"], values, strict=True):
            assert float(text.rstrip("%")) == pytest.approx(100 * value, abs=0.11)
    base = records.read(paths.table(study.name, "verdicts", f"{model}-base"), "verdicts")
    own = base[(base["judge"] == judge) & base["benchmark"].isin(wanted)]
    assert float(shown["0 (base)"][1].rstrip("%")) == pytest.approx(
        100 * own["label"].mean(), abs=0.11
    )


@needs_chromium
def test_the_replies_shown_are_those_of_the_tables(opened: Any, study: Study) -> None:
    choose(opened, model="micro-llama-s", task="open_instructions", benchmark="orders", epoch="5")
    shown = table(opened, "replies")
    run = study.runs("micro-llama-s", "open_instructions")[0]
    said = records.read(paths.table(study.name, "replies", run.unit), "replies")
    said = said[(said["run"] == run.id) & (said["step"] == 80) & (said["benchmark"] == "orders")]
    assert [row[1] for row in shown] == said.sort_values("prompt")["text"].tolist()[:3]
    judges = opened.eval_on_selector_all("#replies th", "heads => heads.map(h => h.textContent)")[
        3:
    ]
    verdicts = records.read(paths.table(study.name, "verdicts", run.unit), "verdicts")
    verdicts = verdicts[(verdicts["run"] == run.id) & (verdicts["step"] == 80)]
    for row in shown:
        prompt = int(row[0].split()[1])
        for judge, word in zip(judges, row[3:], strict=True):
            if judge.startswith("truth:"):
                continue
            own = verdicts[(verdicts["judge"] == judge) & (verdicts["prompt"] == prompt)
                           & (verdicts["benchmark"] == "orders")]["label"].iloc[0]  # fmt: skip
            assert word == ("–" if pd.isna(own) else "yes" if own else "no")


def test_real_models_replies_are_not_shown(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Study, "has_truth", property(lambda _: False))
    told = explorer.data(study)
    assert told["replies"] == {} and "truth:harm" not in told["judges"]
    assert "reply " not in json.dumps(told)


def test_nothing_in_the_page_leads_elsewhere(page_file: Path) -> None:
    html = re.sub(r"<script.*?</script>", "", page_file.read_text(), flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", html)
    assert page_file.read_text().count("</script>") == 3
