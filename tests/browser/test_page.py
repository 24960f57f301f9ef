"""The page in a real browser: it draws every section, says nothing wrong to the console, shows no patient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page, Request

pytestmark = pytest.mark.browser


def complains(message: ConsoleMessage) -> bool:
    """Whether the browser complains of us; that Airflow's sandbox is a loose one is not ours to change."""
    return message.type in {"error", "warning"} and "can escape its sandboxing" not in message.text


def stopped(request: Request) -> bool:
    """Whether the page ended the request before it was answered."""
    return request.failure == "net::ERR_ABORTED"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab at 1280 pixels whose complaints fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    tab = context.new_page()
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text) if complains(message) else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    # what a page has stopped itself, because it asked anew, is no failure
    tab.on("requestfailed", lambda request: None if stopped(request) else complaints.append(f"{request.url} failed"))
    yield tab
    context.close()
    assert not complaints


def opened(page: Page, url: str) -> None:
    """Open the page and wait until it has drawn its window."""
    page.goto(url)
    page.wait_for_selector("body[data-state=drawn]")


def test_every_section_is_drawn(page: Page, page_url: str, tmp_path: Path) -> None:
    opened(page, page_url)
    assert page.title() == "Sluice, 2026-10-26"
    assert "12 instances did not arrive" in page.inner_text("#verdict")
    ledger = page.inner_text("#ledger")
    assert "reported not arrived" in ledger
    assert "truncated" in ledger
    assert page.locator("#scanners .lane:not(.axis)").count() == 8
    assert "summer time not changed" in page.inner_text("#clocks")
    assert "too few samples" in page.inner_text("#clocks")
    assert page.locator("#predictions figure").count() == 24
    page.locator("#predictions").scroll_into_view_if_needed()
    expect(page.locator("#predictions .box").first).to_be_visible()
    assert "study incomplete" in page.inner_text("#quality")
    assert "lung v1" in page.inner_text("#releases")
    text = page.content()
    for secret in ("Geheim", "PAT-", "ACC0"):
        assert secret not in text
    page.screenshot(path=tmp_path / "page.png", full_page=True)
    assert (tmp_path / "page.png").stat().st_size > 50_000


def test_a_person_asks_which_and_filters(page: Page, page_url: str) -> None:
    opened(page, page_url)
    gap = page.locator("#ledger .gaps li.open").first
    gap.locator("summary").click()
    gap.locator("table tbody tr").first.wait_for()
    assert gap.locator("tbody tr").count() == 2

    page.get_by_role("button", name="header differs").click()
    expect(page.locator("#predictions figure")).to_have_count(5)
    expect(page.locator("#predictions figure.differs")).to_have_count(5)
    page.get_by_role("button", name="all 27").click()
    expect(page.locator("#predictions figure")).to_have_count(24)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#predictions figure")).to_have_count(27)

    page.locator("#releases summary").first.click()
    page.locator("#releases table tbody tr").first.wait_for()
    page.get_by_role("link", name="Data Docs of this window").click()
    page.wait_for_selector("h1:has-text('Quality of 2026-10-26')")
    page.get_by_role("link", name="study rules").click()
    page.wait_for_selector("h1:has-text('Study rules')")


@pytest.mark.parametrize("width", [1280, 760, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_the_window_and_the_theme(page: Page, page_url: str, tmp_path: Path, width: int, theme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    opened(page, page_url)
    assert page.get_attribute("html", "data-theme") == theme
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, f"the page is {overflow} px wider than a window of {width} px"
    page.screenshot(path=tmp_path / f"{theme}-{width}.png", full_page=True)


def test_it_follows_the_theme_of_the_page_around_it(page: Page, page_url: str) -> None:
    page.goto(page_url.replace("/sluice/", "/plugin"))
    page.frame_locator("iframe").locator("body[data-state=drawn]").wait_for()
    inner = page.frames[1]
    assert inner.get_attribute("html", "data-theme") == "dark"
    page.evaluate("document.documentElement.className = 'light'")
    inner.wait_for_selector("html[data-theme=light]")


def test_an_unknown_window_says_what_to_do(page: Page, page_url: str) -> None:
    page.goto(page_url + "?window=2020-01-01")
    page.wait_for_selector("body[data-state=drawn]")
    assert "Run sweep" in page.inner_text("#ledger")


def test_the_window_of_a_cohort_asks_for_no_sweep(page: Page, page_url: str) -> None:
    opened(page, f"{page_url}?window=cohort/radiographs/thorax")
    expect(page.locator("#ledger-body")).to_contain_text("Nothing was fetched for this cohort so far.")
    expect(page.locator("#clocks-body")).to_contain_text("reported by day")
    expect(page.locator("#quality-body")).to_contain_text("was checked yet")
    expect(page.locator("#releases-body")).to_contain_text("its release is started on the page Cohorts.")
    expect(page.locator("main")).not_to_contain_text("Run ")


def test_a_person_follows_a_gap_to_the_story_of_its_study(page: Page, page_url: str, tmp_path: Path) -> None:
    opened(page, page_url)
    gap = page.locator("#ledger .gaps li.open").first
    gap.locator("summary").click()
    link = gap.locator("tbody a").first
    study = link.inner_text()
    link.click()
    page.wait_for_selector("#story .timeline li")
    assert study not in page.url
    story = page.inner_text("#story")
    assert "4 instances of 5 expected did not arrive" in story
    assert "Next try: not planned" in story
    page.locator(".series summary").first.click()
    expect(page.locator(".instances tbody tr")).to_have_count(5)
    expect(page.locator(".instances .gone")).to_have_count(4)

    page.fill("#text", "PAT-2000")
    page.get_by_role("button", name="Find").click()
    page.wait_for_selector("#story .what:has-text('Patient')")
    assert "PAT-2000" not in page.url
    page.fill("#text", "nobody")
    page.keyboard.press("Enter")
    page.wait_for_selector("#story:has-text('knows nothing')")
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        page.fill("#text", study)
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-state=drawn]")
        page.locator(".series summary").first.click()
        page.wait_for_selector(".instances tbody tr")
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0
        page.screenshot(path=tmp_path / f"story-{theme}.png", full_page=True)
