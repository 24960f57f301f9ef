"""The page Review in a real browser: what it shows, decisions that take effect, an approval that counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from plugins.pacs import Person
from sluice.release.review import open_review, remember, standing
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.s3 import EmbeddedS3
from tests.browser.conftest import serve_page
from tests.browser.test_page import page as page  # the tab whose complaints fail a test
from tests.conftest import temporary_database
from tests.deid.planted import image
from tests.release.hospital_day import store_day
from tests.release.test_review import Releases

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser
TOLD: list[Any] = []


def pelvis(dataset: Any) -> None:
    dataset.BodyPartExamined = "PELVIS"
    dataset.StudyDescription = "CT Pelvis <b>contrast</b>"


@pytest.fixture(scope="module")
def releases(
    postgres: EmbeddedPostgres, s3: EmbeddedS3, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Releases]:
    """A release that waits for Anna, made of two patients."""
    home = tmp_path_factory.mktemp("review")
    with temporary_database(postgres) as database:
        store_day(database, home / "archive", [image(1), image(2), image(1, "PID-88", "L^B", study=2, edit=pelvis)])
        made = Releases(database, home / "archive", s3.bucket("review"), home / "keys", approvers=["anna"])
        release_id = made.exported("rita")
        open_review(database, release_id)
        yield made


@pytest.fixture(scope="module")
def page_url(releases: Releases) -> Iterator[str]:
    """The page as Anna, an approver, sees it."""
    anna = Person(
        "anna", False, lambda pacs: False, may_approve=True, wake=lambda task: bool(TOLD.append(task)) or True
    )
    yield from serve_page(releases.database, lambda: anna)


@pytest.fixture(scope="module")
def others_url(releases: Releases) -> Iterator[str]:
    """The page as a researcher sees it, who may answer requests in Airflow but is no approver of this project."""
    yield from serve_page(releases.database, lambda: Person("rita", True, lambda pacs: False, may_approve=True))


def test_who_is_no_approver_sees_nothing(page: Page, others_url: str) -> None:
    for path in ("api/review/1", "api/review/1/strings", "api/review/1/pictures/1.2.jpg"):
        answer = page.request.get(others_url + path)
        assert answer.status == 403, path
    assert page.request.get(others_url + "api/review").json()["releases"] == []


def test_a_projects_approver_decides_for_this_project_only(page: Page, page_url: str) -> None:
    asked = {"path": "0018,0015", "decision": "keep", "everywhere": True}
    answer = page.request.post(
        page_url + "api/review/1/decisions", data=asked, headers={"Sec-Fetch-Site": "same-origin"}
    )
    assert (answer.status, "of this project" in answer.json()["detail"]) == (403, True)


def test_review_from_list_to_approval(page: Page, page_url: str, releases: Releases) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(page_url + "review")
    page.get_by_role("link", name="radiographs v1").click()
    expect(page.get_by_role("heading", name="radiographs v1, of 2026-10-26")).to_be_visible()
    expect(page.locator("#approval .sentence")).to_contain_text("Waits for approval")
    expect(page.locator("#pictures img")).to_have_count(3)
    expect(page.locator("#approval")).to_contain_text("rita")
    expect(page.locator("#counts tr", has_text="To be released")).to_contain_text("3")
    expect(page.locator("#for-all")).to_be_hidden()  # she speaks for this project alone
    expect(page.locator("#anonymity dl")).to_contain_text("2 persons in 2 classes")  # as verify counted
    expect(page.locator("#anonymity tbody tr", has_text="PELVIS")).to_have_count(1)

    # Only what contains the word, with its counts; it is chosen and removed by keyboard alone.
    page.get_by_label("Containing").fill("pelv")
    row = page.locator("#strings tbody tr", has_text="PELVIS")
    expect(row).to_have_count(1)
    expect(row.locator("td.number").first).to_have_text("1")
    row.get_by_role("checkbox").focus()
    page.keyboard.press("Space")
    expect(page.locator("#chosen")).to_have_text("1 string chosen")
    button = page.get_by_role("button", name="Remove always")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text("1 object now waits to be produced again")
    expect(page.get_by_role("button", name="Approve this release")).to_be_disabled()

    # The task that waits is told, does it, and the page sees it.
    releases.database.execute("insert into review_waiting values (1, 'export_release', 'r', 'review', 0)")
    page.get_by_role("button", name="Produce 1 object again now").click()
    expect(page.locator("#notice")).to_contain_text("produces them again")
    assert TOLD[-1]["run_id"] == "r"
    releases.exported()
    expect(page.get_by_role("button", name="Approve this release")).to_be_enabled(timeout=15_000)

    page.get_by_role("button", name="Reject").click()
    expect(page.locator("#notice")).to_contain_text("Say why")
    page.get_by_role("button", name="Approve this release").click()
    expect(page.locator("#approval .sentence")).to_contain_text("Approved")
    with releases.database.transaction() as connection:
        assert standing(connection, 1).approved_by == ("anna",)
    expect(page.locator("#history .saying")).to_contain_text("anna")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (800, "dark")])
def test_fits_and_can_be_read(page: Page, page_url: str, tmp_path: Path, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(page_url + "review?release=1")
    page.get_by_role("button", name="All").click()
    expect(page.locator("#strings tbody tr").nth(5)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    page.screenshot(path=str(tmp_path / "review.png"), full_page=True)


def test_markup_in_a_value_is_text(page: Page, page_url: str, releases: Releases) -> None:
    page.goto(page_url + "review?release=1")
    page.get_by_role("button", name="All").click()
    expect(page.locator("#strings tbody tr").nth(3)).to_be_visible()
    assert page.locator("#strings b").count() == 0
    with pytest.raises(Exception, match="no such string"):
        remember(releases.database, 1, [10**9], "keep", "anna")
