"""The page Anatomy in a real browser: a click teaches a word, the pile shrinks, and it can be undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from plugins.pacs import Person
from sluice.anatomy.teaching import Lesson, teach
from sluice.database import Database
from sluice.stack.postgres import EmbeddedPostgres
from tests.anatomy.test_teaching import add, elements, regions, rows
from tests.browser.conftest import serve_page
from tests.browser.test_page import page as page  # the tab whose complaints fail a test
from tests.conftest import temporary_database

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture
def taught(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A database in which some texts wait."""
    with temporary_database(postgres) as database:
        add(database, [f"1.1.{n}" for n in range(12)], elements(series="Quengelgips", study="Rö extern"))
        add(database, [f"1.2.{n}" for n in range(5)], elements("CR", "CR4", series="Zaubergips", study="Extern 2"))
        add(database, ["1.3.1"], elements("MR", "MR1", series="Zauber 3", study="MRT Knie"))
        for number in range(60):
            add(database, [f"1.4.{number}"], elements("DX", "DX9", series=f"Sonderfall Nr {number:03}"))
        yield database


@pytest.fixture
def url(taught: Database) -> Iterator[str]:
    """The page as somebody sees it who may teach."""
    yield from serve_page(taught, lambda: Person("vera", True, lambda pacs: True))


@pytest.fixture
def viewers_url(taught: Database) -> Iterator[str]:
    """The page as somebody sees it who may only look."""
    yield from serve_page(taught)


def opened(page: Page, url: str) -> None:
    page.goto(f"{url}anatomy")
    page.wait_for_selector("body[data-state=drawn]")


def test_a_click_teaches_a_word_and_the_pile_shrinks(page: Page, url: str, taught: Database) -> None:
    opened(page, url)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    first = page.locator(".texts > li").first
    expect(first).to_contain_text("Quengelgips")
    expect(first).to_contain_text("12 series · Series Description · DX · DX1")
    choice = first.get_by_role("combobox", name="Region of Quengelgips")
    choice.fill("ank")
    page.keyboard.press("Enter")
    expect(choice).to_have_value("Ankle joint")
    expect(first.locator(".effect")).to_have_text("12 series hold this text, 12 would change.")
    assert regions(taught)["1.1.0"] is None, "nothing is taught before the click"
    first.get_by_label("Side of Quengelgips").select_option("L")
    first.get_by_role("button", name="Add").click()
    expect(page.locator("#notice")).to_contain_text("12 series change")
    expect(page.locator("#pile")).not_to_contain_text("Quengelgips")
    (row,) = rows(taught, "select value, laterality, added_by from anatomy_mapping")
    assert row == {"value": "ANKLE", "laterality": "L", "added_by": "vera"}
    assert regions(taught)["1.1.0"] == "ANKLE"
    expect(page.locator("#history tbody tr")).to_contain_text("Ankle joint, left")
    expect(page.locator("#history tbody tr")).to_contain_text("12 series")
    page.locator("#notice").get_by_role("button", name="Undo").click()
    expect(page.locator(".texts > li").first).to_contain_text("Quengelgips")
    expect(page.locator("#history tbody tr")).to_contain_text("withdrawn by vera")
    assert regions(taught)["1.1.0"] is None
    expect(page.locator("#notice")).to_have_text("Withdrawn. 12 series change.")
    page.get_by_role("button", name="CT phase").click()
    expect(page.locator("#pile")).to_contain_text("Nothing waits: every CT phase that a header names is known.")
    expect(page.locator("#notice")).to_be_hidden()
    assert not [asked for asked in sent if "uengelgips" in asked], "a text of a header stood in a URL"


def test_what_says_nothing_goes_and_the_pile_narrows_and_goes_on(page: Page, url: str, taught: Database) -> None:
    opened(page, url)
    assert page.locator(".texts > li").count() == 40
    page.get_by_role("button", name="Show more").click()
    expect(page.get_by_text("Sonderfall Nr 059")).to_be_visible()
    expect(page.locator(".texts > li")).to_have_count(64)
    page.get_by_label("Modality").select_option("CR")
    expect(page.locator(".texts > li")).to_have_count(2)
    page.get_by_label("Stands in").select_option("(0008,103E)")
    expect(page.locator(".texts > li")).to_have_count(1)
    page.locator(".texts summary").click()
    expect(page.locator(".texts .opened")).to_contain_text("5 undecided series of 1 study")
    expect(page.locator(".beside")).to_contain_text("Study Description: Extern 2")
    page.get_by_label("From scanner", exact=True).select_option("CR4")
    page.get_by_role("button", name="Says nothing").click()
    expect(page.locator("#pile")).to_contain_text("Nothing waits")
    (row,) = rows(taught, "select value, station_name from anatomy_mapping")
    assert row == {"value": None, "station_name": "CR4"}
    page.get_by_role("button", name="MR sequence").click()
    row = page.locator(".texts > li", has_text="Zauber 3")
    row.get_by_role("combobox").focus()
    page.keyboard.type("t1+c")
    page.keyboard.press("Enter")
    expect(row.locator(".effect")).to_contain_text("1 would change")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#notice")).to_contain_text("1 series changes")
    (mr,) = rows(taught, "select mr_sequence, mr_contrast from header_anatomy where mr_sequence is not null")
    assert mr == {"mr_sequence": "T1", "mr_contrast": True}


def test_who_may_only_look_has_nothing_to_press(page: Page, viewers_url: str) -> None:
    opened(page, viewers_url)
    expect(page.locator(".texts > li").first).to_contain_text("Quengelgips")
    assert page.get_by_role("button", name="Says nothing").count() == 0
    assert page.locator(".pick").count() == 0


def test_it_fits_the_window_and_the_theme(page: Page, url: str, taught: Database, tmp_path: Path) -> None:
    teach(taught, Lesson("region", "Sonderfall Nr 000", "KNEE", "L", "AP", station_name="DX9"), "otto")
    opened(page, url)
    page.locator(".texts summary").first.click()
    expect(page.locator(".texts .opened")).to_contain_text("12 undecided series")
    for width in (1280, 800, 390):
        for theme in ("light", "dark"):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            page.locator(".pick input").first.click()
            expect(page.get_by_role("option", name="Ankle joint")).to_be_attached()
            assert page.get_attribute("html", "data-theme") == theme
            overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert overflow <= 0, f"the page is {overflow} px wider than a window of {width} px"
            page.screenshot(path=tmp_path / f"{theme}-{width}.png", full_page=True)
            page.keyboard.press("Escape")


def test_markup_in_a_header_is_text(page: Page, url: str, taught: Database) -> None:
    hostile = "<img src=x onerror=alert(1)><b>Gips</b>"
    add(taught, [f"1.9.{n}" for n in range(99)], elements("DX", "<i>DX1</i>", series=hostile, study=hostile))
    page.on("dialog", lambda dialog: pytest.fail("a header's markup ran"))
    opened(page, url)
    first = page.locator(".texts > li").first
    expect(first).to_contain_text(hostile)
    expect(page.locator(".texts img, .texts b, .texts i")).to_have_count(0)
