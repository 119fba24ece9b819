"""The book: built with every warning an error, and no link inside it leads nowhere."""

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from nbformat import NotebookNode

from grounded import paths
from grounded.errors import GroundedError
from workflow import book


class Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self.links += [str(about[n]) for n in ("href", "src") if about.get(n)]
        if about.get("id"):
            self.anchors.add(str(about["id"]))


@pytest.fixture(scope="module")
def html() -> Path:
    return book.build("micro")


@pytest.fixture(scope="module")
def pages(html: Path) -> dict[Path, Links]:
    found = {}
    for page in html.rglob("*.html"):
        if page != html / "explorer.html" and "_static" not in page.parts:
            found[page] = Links()
            found[page].feed(page.read_text(encoding="utf-8"))
    return found


def test_every_notebook_and_text_has_a_page(html: Path, pages: dict[Path, Links]) -> None:
    for notebook in (paths.repository() / "notebooks").glob("*.ipynb"):
        assert html / "notebooks" / f"{notebook.stem}.html" in pages
    for name in ("index", "figures", "BENCHMARKS", "REPRODUCIBILITY", "lib/workflow/CLUSTER"):
        assert html / f"{name}.html" in pages
    assert (html / "search.html").exists() and "anchor" in (html / "searchindex.js").read_text()
    # every run of the study stands in the page as text, which compresses to a tenth
    assert (html / "explorer.html").stat().st_size < 10_000_000
    assert "explorer.html" in pages[html / "figures.html"].links


def test_no_link_inside_leads_nowhere(html: Path, pages: dict[Path, Links]) -> None:
    lost = []
    for page, found in pages.items():
        for link in found.links:
            target, anchor = urldefrag(link)
            if re.match(r"[a-z+]+:|//", link) or page.name in ("genindex.html", "search.html"):
                continue
            place = (page.parent / unquote(target.split("?")[0])).resolve() if target else page
            if not place.exists():
                lost.append(f"{page.name}: {link}")
            elif anchor and place in pages and unquote(anchor) not in pages[place].anchors:
                lost.append(f"{page.name}: {link}")
    assert not lost


def test_pages_that_were_executed_beside_the_figures_are_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`make figures` leaves them there, and Sphinx refuses a page that no contents name."""
    for file in ("figures/mine/one.png", "figures/mine/notebooks/one.ipynb", "notebooks/one.ipynb"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    monkeypatch.setattr(book, "ROOT", tmp_path)
    monkeypatch.setattr(book, "PAGES", ())
    monkeypatch.setattr(book, "BESIDE", ("figures",))
    book._copy(tmp_path / "source")
    found = {str(p.relative_to(tmp_path / "source")) for p in (tmp_path / "source").rglob("*.*")}
    assert found == {"figures/mine/one.png", "notebooks/one.ipynb"}


def test_the_contents_hold_every_notebook_once() -> None:
    names = [name for _, names in book.contents() for name in names]
    folder = paths.repository() / "notebooks"
    assert sorted(names) == sorted(page.stem for page in folder.glob("*.ipynb"))
    questions = [question for question, _ in book.contents()]
    assert all(one.endswith("?") and one[0].isupper() and "*" not in one for one in questions)


def test_figures_stand_in_the_order_of_the_contents_each_with_its_caption() -> None:
    text = book._figures("micro")
    shown = re.findall(r":name: fig-(\w+)", text)
    assert sorted(shown) == sorted(one.stem for one in paths.figures("micro").glob("*.png"))
    drawn = [name for _, names in book.contents() for name in names]
    places = [max(i for i, n in enumerate(drawn) if one.startswith(n)) for one in shown]
    assert places == sorted(places)
    assert re.search(r":name: fig-figure_1_epochs\n\n\*\*Figure 1\.\*\* .*Point: the mean", text)
    for block in text.split("```{figure}")[1:]:
        _, caption, links, *_ = block.split("\n\n")
        assert len(caption) > 60 and links.startswith("[Numbers]")


def test_a_caption_is_the_bold_text_after_its_figure_else_the_figure_in_words() -> None:
    image = {"data": {"image/png": ""}, "metadata": {"image/png": {"alt": "lines"}}}
    said = [{"data": {"text/markdown": text}, "metadata": {}}
            for text in ("not bold", "**A.** as\n[b](b.ipynb)", "**C.** no caption")]  # fmt: skip
    cells = [{"cell_type": "code", "outputs": [one]} for one in (image, image, *said)]
    cells += [{"cell_type": "markdown", "source": text} for text in ("how.", "## Next", "What.")]
    page = NotebookNode(cells=[NotebookNode(cell) for cell in cells])
    assert book.captions(page) == [
        ("lines", "lines"),
        ("lines", "**A.** as [b](notebooks/b.ipynb) how."),
    ]


def test_every_figure_is_shown_with_its_numbers(html: Path) -> None:
    text = (html / "figures.html").read_text(encoding="utf-8")
    for picture in paths.figures("micro").glob("*.png"):
        assert f"_images/{picture.name}" in text and f"{picture.stem}.csv" in text


def test_a_link_that_leads_nowhere_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book, "TREE", "\n\n[lost](notebooks/nowhere.ipynb)\n" + book.TREE)
    monkeypatch.setattr(book, "BUILD", book.BUILD.with_name("book-broken"))
    monkeypatch.setattr(book, "_explore", lambda *_: None)
    with pytest.raises(GroundedError, match="book: .*nowhere"):
        book.build("micro")
