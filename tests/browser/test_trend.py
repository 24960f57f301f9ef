"""The page Quality trend in a real browser: from a number to its objects, and a decision that takes effect."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from plugins.pacs import Person
from sluice.database import Database
from sluice.stack.postgres import EmbeddedPostgres
from tests.browser.conftest import serve_page
from tests.browser.test_page import opened
from tests.browser.test_page import page as page  # the tab whose complaints fail a test
from tests.conftest import temporary_database
from tests.pacs.sending import rows
from tests.quality.trend_rows import write_trend

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def week(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """Seven days of findings."""
    with temporary_database(postgres) as database:
        write_trend(database)
        yield database


@pytest.fixture(scope="module")
def trend_url(week: Database) -> Iterator[str]:
    """The page as somebody sees it who may decide."""
    for url in serve_page(week, lambda: Person("vera", True, lambda pacs: True, True)):
        yield f"{url}trend"


@pytest.fixture(scope="module")
def viewers_url(week: Database) -> Iterator[str]:
    """The page as somebody sees it who may only look."""
    for url in serve_page(week):
        yield f"{url}trend"


def test_from_a_number_to_its_objects_and_a_decision(page: Page, trend_url: str, week: Database) -> None:
    opened(page, trend_url)
    heads = page.locator("#rules tbody th button")
    assert heads.all_inner_texts() == [
        "pixels of another patient", "rows missing", "laterality unknown",
    ]  # fmt: skip
    page.get_by_role("button", name="rows missing, 2026-10-26: 60 findings").click()
    expect(page.locator("#h-findings")).to_have_text("rows missing, 2026-10-26")
    expect(page.locator(".finding")).to_have_count(50)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".finding")).to_have_count(60)
    first = page.locator(".finding").first
    expect(first).to_contain_text("Held back; nobody has decided.")
    assert len(rows(week, "select from quality_held where rule = 'rows-missing'")) == 180
    first.get_by_role("textbox").fill("a localizer without pixels")
    first.get_by_role("button", name="Accept").click()
    expect(first.locator(".badge")).to_have_text("accepted")
    expect(page.locator("#notice")).to_contain_text("no longer holds")
    assert len(rows(week, "select from quality_held where rule = 'rows-missing'")) == 179
    assert rows(week, "select reason, decided_by from quality_decision") == [
        {"reason": "a localizer without pixels", "decided_by": "vera"}
    ]
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    exported = Path(download.value.path()).read_text()
    assert exported.count("\n") == 61
    assert "a localizer without pixels" in exported


def test_a_rule_opens_its_scanners_and_a_scanner_narrows_everything(page: Page, trend_url: str) -> None:
    opened(page, trend_url)
    page.get_by_role("button", name="laterality unknown", exact=True).click()
    expect(page.locator("#scanners tbody tr")).to_have_count(2)
    page.locator("#scanners").get_by_role("button", name="DX1, 2026-10-25: 8 findings").click()
    expect(page.locator("#h-findings")).to_have_text("laterality unknown, 2026-10-25, DX1")
    expect(page.locator(".finding")).to_have_count(8)
    page.get_by_label("Scanner", exact=True).select_option("CT1")
    expect(page.locator("#rules tbody tr")).to_have_count(2)
    expect(page.get_by_role("button", name="laterality unknown, 2026-10-26: 9 findings")).to_be_visible()


def test_who_accepts_a_held_window_reads_how_it_goes_on(page: Page, trend_url: str) -> None:
    finding = {
        "finding_id": 1, "rule": "rows-missing", "level": "window", "object": "2026-10-26", "window_key": "2026-10-26",
        "severity": "stop", "observed": "missing_share: 0.4", "scanner": None, "decision": None,
    }  # fmt: skip
    page.route("**/api/trend/findings?*", lambda route: route.fulfill(json={"findings": [finding], "next": None}))
    taken = {"decision": "accept", "reason": "it is complete", "decided_by": "vera", "decided_at": "2026-10-27T08:00Z"}
    page.route("**/api/quality/decisions", lambda route: route.fulfill(json=taken))
    opened(page, trend_url)
    page.get_by_role("button", name="rows missing", exact=True).click()
    shown = page.locator(".finding")
    expect(shown.locator("> div").first).to_have_text("window2026-10-26")
    shown.get_by_role("textbox").fill("it is complete")
    shown.get_by_role("button", name="Accept").click()
    expect(page.locator("#notice")).to_contain_text("Now clear the red task check_quality of its run")
    expect(page.locator("#notice")).to_be_in_viewport()
    expect(page.locator("#notice a")).to_have_attribute("href", "../dags/check_quality/runs")


def test_it_works_by_keyboard(page: Page, trend_url: str) -> None:
    opened(page, trend_url)
    page.get_by_role("button", name="laterality unknown, 2026-10-26: 18 findings").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_role("button", name="rows missing, 2026-10-24: 60 findings")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#h-findings")).to_have_text("rows missing, 2026-10-24")
    expect(page.locator("#findings-panel")).to_be_focused()


@pytest.mark.parametrize("width", [1280, 800, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_the_window_and_who_may_only_look_decides_nothing(
    page: Page, viewers_url: str, tmp_path: Path, width: int, theme: str
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    opened(page, viewers_url)
    page.get_by_role("button", name="pixels of another patient, 2026-10-26: 1 finding").click()
    expect(page.locator(".finding")).to_have_count(1)
    assert page.locator(".finding form").count() == 0
    assert page.get_attribute("html", "data-theme") == theme
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, f"the page is {overflow} px wider than a window of {width} px"
    page.screenshot(path=tmp_path / f"{theme}-{width}.png", full_page=True)
