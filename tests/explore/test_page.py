"""The page in a browser, as a person would use it: headless Chromium, if it and playwright are there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")

#: kind → a tool of its own, what is typed into it, and a tool that is greyed
KINDS: dict[str, tuple[str, dict[str, str], str | None]] = {
    "svae": ("between", {}, None),
    "rnnlm": ("sample", {"count": "3"}, "between"),
    "categoricals": ("along", {"a": "the cat and dog"}, "between"),
    "control": ("transfer", {"text": "the cat"}, None),
    "prodlda": ("topics", {}, "sample"),
    "nasm": ("rank", {"question": "what is 3", "answers": "the cat\nthe <b>box</b>"}, "sample"),
    "cvae": ("write", {"source": "what is 3"}, None),
    "msved": ("inflect", {"word": "what is 3", "tags": "num=sg"}, None),
    "codec": ("compress", {"text": "the cat and dog"}, "near"),
    "game": ("near", {}, "between"),
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page on which no script may fail, and which asks this machine alone."""
    page = chromium.new_page(viewport={"width": 1280, "height": 800})
    page.set_default_timeout(60_000)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Content Security Policy" in said.text else None)
    page.on("request", lambda sent: wrong.append(sent.url) if not _own(sent.url) else None)
    yield page
    page.close()
    assert not wrong


def _own(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def click_point(page: Any, at: int) -> None:
    """Clicks a text on the map."""
    box = page.locator("#map .scatterlayer .trace .point").nth(at).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def answer(page: Any) -> list[str]:
    """The last cells of the answer's rows."""
    page.wait_for_selector(".answer tbody tr, .answer .error")
    assert page.locator(".answer .error").count() == 0, page.inner_text(".answer")
    return page.locator(".answer tbody td:last-child").all_inner_texts()


#: the others are slow, as each is trained first
SOON = ("svae", "prodlda", "nasm", "categoricals", "msved")


@pytest.mark.parametrize(
    "kind", [kind if kind in SOON else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_a_run_of_every_kind_is_opened_and_asked(kind: str, trained: Callable[[str], Path], serve, page: Any):
    tool, typed, greyed = KINDS[kind]
    page.goto(serve(trained(kind)).url)
    page.click("#tables tbody td.name button")
    page.wait_for_selector("#form form")
    assert page.inner_text(".verdict-line")
    assert page.locator("#report tr").count() > 3
    assert page.locator("#pictures img").count() >= 1
    mapped = page.locator("#map .scatterlayer .point").count()
    if kind in ("rnnlm", "codec"):
        assert page.inner_text("#nomap").startswith("No map: ")
    else:
        assert mapped > 10
    if greyed:
        assert page.locator(f"[data-tool={greyed}]").is_disabled()
        assert page.inner_text("#reasons")
    page.click(f"[data-tool={tool}]")
    for name, text in typed.items():
        page.fill(f"#field-{name}", text)
    if kind in ("svae", "game"):  # by clicks on the map alone
        click_point(page, 0)
        if kind == "svae":
            click_point(page, mapped // 2)
    else:
        page.click("#form button.act")
    found = answer(page)
    assert found
    if kind == "nasm":
        assert "the <b>box</b>" in found, "what is typed is shown, not interpreted"


def test_a_person_looks_at_a_sentence_vae(trained: Callable[[str], Path], serve, page: Any):
    page.goto(serve(trained("svae")).url)
    page.check("#tables tbody input")
    page.click("#tables thead th:nth-child(4) button")
    assert page.locator("#tables thead button[data-up]").count() == 1
    page.click("#tables tbody td.name button")
    page.wait_for_selector("#map .scatterlayer .point")
    assert page.locator("#colour option").all_inner_texts() == ["label", "rate", "length"]
    page.hover("#map .scatterlayer .trace .point >> nth=0", force=True)
    page.wait_for_selector("#map .hoverlayer text")
    assert "the" in page.text_content("#map .hoverlayer")
    for colour in ("rate", "length"):
        page.select_option("#colour", colour)
        page.wait_for_selector("#map .colorbar")
    page.click("[data-tool=sample]")
    page.fill("#field-count", "4")
    page.fill("#field-temperature", "0.7")
    page.fill("#field-top_p", "0.9")
    page.click("#form button.act")
    assert len(answer(page)) == 4
    page.click("[data-tool=sum]")
    for at in (0, 2, 4):
        click_point(page, at)
    assert len(answer(page)) == 6
    page.click("[data-tool=near]")
    page.fill("#field-a", "the cat and dog")
    page.click("#form button.act")
    assert len(answer(page)) == 10
    page.click("[data-tool=along]")
    assert "variance" in page.inner_text("#field-knob")
    page.click("#form button.act")
    assert len(answer(page)) == 7
    page.fill("#field-steps", "1")
    page.evaluate("document.querySelector('#form form').noValidate = true")
    page.click("#form button.act")
    page.wait_for_selector(".answer .error")
    assert "1 is not between 2 and" in page.inner_text(".answer .error")


def test_several_runs_are_laid_over_one_another(trained: Callable[[str], Path], serve, page: Any, tmp_path: Path):
    for kind in ("svae", "rnnlm"):
        shutil.copytree(trained(kind), tmp_path / "runs", dirs_exist_ok=True)
    page.goto(serve(tmp_path / "runs").url)
    page.wait_for_selector("#tables tbody tr")
    page.select_option("#sweep", "rnnlm")
    rows = playwright.expect(page.locator("#tables tbody tr"))
    rows.to_have_count(1)
    page.select_option("#sweep", "")
    rows.to_have_count(2)
    for box in page.locator("#tables tbody input").all():
        box.check()
    page.click("nav [data-view=curves]")
    page.wait_for_selector("#plot .scatterlayer .trace")
    assert "val/nelbo" in page.locator("#figure option").all_inner_texts()
    assert page.locator("#plot .scatterlayer .trace").count() == 2
    page.click("nav [data-view=samples]")
    page.wait_for_selector("#beside article")
    assert page.locator("#beside article pre").count() == 2
    page.fill("#draw-texts", "3")
    page.click("#draw button")
    playwright.expect(page.locator("#beside article table")).to_have_count(2, timeout=60_000)
    assert page.locator("#beside tbody tr").count() == 6


def test_the_file_of_a_sweep_opens_without_a_server(trained: Callable[[str], Path], chromium: Any, tmp_path: Path):
    from lvexp.explore import mail
    from lvexp.explore.shelf import Shelf

    mail.write(Shelf(trained("svae")), tmp_path / "sweep.html")
    page, asked = chromium.new_page(), []
    page.on("request", lambda sent: asked.append(sent.url))
    page.goto(f"file://{tmp_path / 'sweep.html'}")
    page.click("details summary")
    assert page.locator("img").first.evaluate("image => image.complete && image.naturalWidth > 100")
    page.click("thead th:nth-child(3)")
    assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
    page.close()
