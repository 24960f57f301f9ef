"""The page PACS in a real browser: who uses it, and orders and hours that take effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import expect

from plugins.pacs import Person
from sluice.database import Database
from sluice.pacs.governor import Governor, Priority, RetrievalPaused, Use
from sluice.pacs.governor.orders import retrieval_state
from sluice.pacs.governor.policy import Limits, Policy, change_policy, ensure_policy
from sluice.stack.postgres import EmbeddedPostgres
from tests.browser.conftest import serve_page
from tests.browser.test_page import page as page  # the tab whose complaints fail a test
from tests.conftest import temporary_database
from tests.pacs.sending import rows

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
KEY = "2026-10-26"
COHORT = "cohort/radiographs/thorax-2019"
WEEKDAY = "ffffffggggggggggggggffff"


@pytest.fixture(scope="module")
def busy(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """A database whose PACS is in use, slowed down, and waited for."""
    with temporary_database(postgres) as database, ExitStack() as stack:
        ensure_policy(database, "pacs_main", 4, "Europe/Berlin")
        saturday, sunday = "f" * 24, "f" * 8 + "." * 16
        if datetime.now(ZoneInfo("Europe/Berlin")).weekday() == 6:  # today it has to be open
            saturday, sunday = sunday, saturday
        week = (WEEKDAY,) * 5 + (saturday, sunday)
        open_now = Policy("Europe/Berlin", week, Limits(4, 20e6), Limits(4, queries_per_s=5), urgent_when_closed=True)
        change_policy(database, "pacs_main", open_now, "otto")
        for key, kind in ((KEY, "day"), (COHORT, "cohort")):
            database.execute("insert into sweep_window values (%s, %s, %s, %s)", (key, kind, KEY, KEY))
            database.execute(
                "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
                "select %s, '1.2.' || n, '1.2', '1', 'pacs_main' from generate_series(1, 400) n",
                (key,),
            )
        database.execute(
            "insert into receipt (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, "
            "transfer_syntax_uid, source, calling_ae, called_ae, peer, association, bytes, sha256, path) "
            "select '1.2.' || n, '1.2', '1', '1', '1', 'move', 'P', 'S', 'h', gen_random_uuid(), 520000, 'x', 'x' "
            "from generate_series(1, 150) n"
        )
        for number, (purpose, who, priority, window) in enumerate(
            [
                ("sweep", "sweep of 2026-10-27", Priority.ROUTINE, "2026-10-27"),
                ("retrieve", "retrieve studies, part 2 of 5", Priority.ROUTINE, KEY),
                ("retrieve", "backfill_cohort studies, part 7 of 64", Priority.BACKFILL, COHORT),
            ]
        ):
            use = Use(purpose, who, priority, window, "retrieve", f"manual__{number}")
            hold = stack.enter_context(Governor(database, "pacs_main", use).association())
            with hold.request("C-MOVE") as request:
                request.answered("0000" if number < 2 else "A702", 31_000_000 * number)
        yield database


@pytest.fixture(scope="module")
def pacs_url(busy: Database) -> Iterator[str]:
    """The page as somebody sees it who may do everything."""
    for url in serve_page(busy, lambda: Person("vera", True, lambda pacs: True)):
        yield f"{url}pacs"


@pytest.fixture(scope="module")
def viewers_url(busy: Database) -> Iterator[str]:
    """The page as somebody sees it who may only look."""
    for url in serve_page(busy):
        yield f"{url}pacs"


def opened(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("body[data-state=drawn]")


def test_a_person_pauses_resumes_cancels_and_chooses_who_goes_first(page: Page, pacs_url: str, busy: Database) -> None:
    opened(page, pacs_url)
    row = page.locator(f'[data-window="{KEY}"]')
    expect(row).to_contain_text("150 of 400 instances here")
    row.get_by_role("button", name="Pause").click()
    expect(row.locator(".badge")).to_have_text("paused")
    assert retrieval_state(busy, KEY).ordered_by == "vera"
    use = Use("retrieve", "another part", Priority.ROUTINE, KEY)
    with pytest.raises(RetrievalPaused), Governor(busy, "pacs_main", use).association():
        pass
    row.get_by_role("button", name="Resume").click()
    expect(row.locator(".badge")).to_have_text("goes on")
    with page.expect_response("**/api/pacs/orders"):
        row.get_by_role("combobox").select_option("urgent")
    assert retrieval_state(busy, KEY).priority is Priority.URGENT
    cohort = page.locator(f'[data-window="{COHORT}"]')
    cohort.get_by_role("button", name="Cancel").click()
    expect(cohort.get_by_role("button", name="Cancel")).to_have_text("Really cancel?")
    assert retrieval_state(busy, COHORT).state == "active", "one click must not cancel"
    cohort.get_by_role("button", name="Cancel").click()
    expect(cohort.locator(".badge")).to_have_text("cancelled")
    reasons = rows(
        busy, f"select count(*) as n from open_gap where reason_code = 'cancelled' and window_key = '{COHORT}'"
    )
    assert reasons == [{"n": 250}]


def test_a_person_paints_hours_and_changes_limits(page: Page, pacs_url: str, busy: Database) -> None:
    opened(page, pacs_url)
    page.get_by_role("button", name="closed", exact=True).click()
    page.get_by_role("button", name="Wed 12:00, gentle").click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.get_by_role("group", name="gentle hours").get_by_label("Associations at once").fill("1")
    page.get_by_role("button", name="Save policy").click()
    expect(page.locator("#notice")).to_contain_text("is changed")
    (kept,) = rows(busy, "select policy, changed_by from pacs_policy")
    policy = Policy.of(kept["policy"])
    assert policy.week[2] == "ffffffgggggg..ggggggffff"
    assert (policy.gentle.concurrency, policy.full.concurrency, kept["changed_by"]) == (1, 4, "vera")
    page.locator(".policy summary").click()
    expect(page.locator(".changes li").first).to_contain_text(
        "vera: gentle hours: 4 → 1 associations; 2 hours of the week"
    )
    page.get_by_role("group", name="gentle hours").get_by_label("Associations at once").fill("99")
    page.get_by_role("button", name="Save policy").click()
    expect(page.locator("#notice")).to_contain_text("64")
    assert len(rows(busy, "select from pacs_policy_change")) == 3, "what makes no sense was sent"


def test_who_may_only_look_has_nothing_to_press(page: Page, viewers_url: str) -> None:
    opened(page, viewers_url)
    assert page.locator("#retrievals button:not(:disabled), .policy button:not(:disabled)").count() == 0
    assert page.get_by_role("button", name="Save policy").count() == 0
    expect(page.locator(".node")).to_contain_text("backfill_cohort studies, part 7 of 64")
    expect(page.locator(".node")).to_contain_text("C-MOVE answered A702: out of resources")


@pytest.mark.parametrize("width", [1280, 760, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_the_window_and_the_theme(page: Page, viewers_url: str, tmp_path: Path, width: int, theme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    opened(page, viewers_url)
    assert page.get_attribute("html", "data-theme") == theme
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, f"the page is {overflow} px wider than a window of {width} px"
    page.screenshot(path=tmp_path / f"{theme}-{width}.png", full_page=True)
