"""The pages Requests and Recalls in a real browser: how far a request is, and who has to delete what was recalled."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from plugins.pacs import Person
from sluice.cohorts.lists import answer_list
from sluice.database import Database
from sluice.objects import ObjectStore
from sluice.release.export import export_batch, prepare, publish, verify
from sluice.release.projects import Recipient, load_project
from sluice.release.recall.opt_outs import Target, Terms, add
from sluice.release.recall.recalls import carry_out
from sluice.release.requests.registry import ask, note_run
from sluice.settings import CHECKOUT
from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.s3 import EmbeddedS3
from sluice.windows import Window, remember_window
from tests.browser.conftest import serve_page
from tests.browser.test_page import page as page  # the tab whose complaints fail a test
from tests.conftest import temporary_database
from tests.deid.planted import image
from tests.release.hospital_day import store_day

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def asked(postgres: EmbeddedPostgres, s3: EmbeddedS3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A request that is under way, one that is released, and a recall of one of its instances."""
    home = tmp_path_factory.mktemp("home")
    bucket: ObjectStore = s3.bucket(f"browser-{uuid.uuid4().hex[:8]}")
    with temporary_database(postgres) as database, pytest.MonkeyPatch.context() as patch:
        project = load_project("radiographs", CHECKOUT / "projects").model_copy(
            update={
                "recipients": (Recipient(name="Uni X", contact="x@uni.example"),),
                "bucket": bucket.bucket,
                "formats": ("dicom",),
                "approval": "none",
            }
        )
        patch.setattr("sluice.release.recall.recalls.load_project", lambda name: project)
        uids = store_day(database, home / "archive", [image(number) for number in range(1, 6)])
        for name in ("done", "waits"):
            kept = ask(
                database,
                {"project": "radiographs", "name": name, "csv": f"accession\nACC9081726\n{name}\n*\n"},
                "rita",
                is_engineer=False,
            )
            note_run(database, kept.request_id, "manual__1")
            window = kept.wanted.window_key
            remember_window(database, Window(window, "cohort", date(2026, 10, 26), date(2026, 10, 26)))
            database.execute(
                "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
                "select %s, sop_instance_uid, series_instance_uid, study_instance_uid, 'pacs' from instance",
                (window,),
            )
            assert kept.wanted.kept is not None
            answer_list(database, kept.wanted.kept.list_id)
            if name == "done":
                keys, listed = home / "keys", kept.wanted.kept.list_id
                plan = prepare(database, project, window, keys=keys, list_id=listed)
                for part in plan.batches:
                    export_batch(database, home / "archive", bucket, project, plan.release_id, part, keys=keys)
                verify(database, bucket, plan.release_id)
                publish(database, bucket, plan.release_id, keys)
        add(database, [Target("instance", sop_instance_uid=uids[0])], Terms("withdrawn", "a letter"), "dora")
        carry_out(database, lambda _: bucket, "dora", keys=home / "keys")
        yield database


def served(database: Database, person: Person) -> Iterator[str]:
    yield from serve_page(database, lambda: person)


@pytest.fixture(scope="module")
def engineers_url(asked: Database) -> Iterator[str]:
    person = Person("otto", True, lambda pacs: True, may_ask=True, may_recall=True)
    yield from served(asked, person)


@pytest.fixture(scope="module")
def researchers_url(asked: Database) -> Iterator[str]:
    yield from served(asked, Person("rita", False, lambda pacs: False, may_ask=True, may_look=False))


def opened(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("body[data-state=drawn]")


def test_a_researcher_follows_a_request_to_the_bucket(page: Page, researchers_url: str) -> None:
    opened(page, researchers_url)  # a researcher has no page Windows: this one is in its place
    assert page.url.endswith("/requests")
    expect(page.get_by_role("navigation", name="Pages").get_by_role("link")).to_have_text(["Cohorts", "Requests"])
    waits, done = page.locator(".request").all()
    expect(waits.locator(".state")).to_have_text("checked")
    expect(waits.get_by_role("progressbar")).to_be_visible()
    expect(done.locator(".state")).to_have_text("released")
    expect(done.locator(".take")).to_contain_text("/radiographs/v1/")
    expect(done.locator(".why")).to_contain_text("1 instance not released: Its patient, study or itself was opted out")
    done.get_by_text("Rows", exact=True).press("Enter")
    rows = done.get_by_role("table").locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(0)).to_contain_text("One study; 5 of 5 instances here.")
    expect(rows.nth(2)).to_contain_text("refused")
    assert "ACC9081726" not in page.content()


def test_a_recipients_notice_is_read_and_their_answer_kept(page: Page, engineers_url: str) -> None:
    opened(page, f"{engineers_url}recalls")
    expect(page.locator("#sums")).to_contain_text("1answers still to come")
    recall = page.locator(".request")
    expect(recall).to_contain_text("radiographs/v1")
    expect(recall.locator(".badge.good")).to_have_text("gone")
    recall.get_by_role("button", name="Notice").press("Enter")
    letter = page.get_by_label("Notice to Uni X")
    expect(letter).to_be_visible()
    assert "radiographs/v1/dicom/RAD-" in letter.input_value()
    assert "a letter" not in page.content()
    recall.get_by_label("Answer of Uni X").fill("mail of today: deleted")
    recall.get_by_label("Answer of Uni X").press("Enter")
    expect(page.locator("#notice")).to_contain_text("Uni X deleted")
    expect(recall).to_contain_text("1 of 1 recipient did")
    expect(page.locator("#sums")).to_contain_text("0answers still to come")


@pytest.mark.parametrize("width", [1280, 800])
def test_nothing_runs_over_the_side(page: Page, engineers_url: str, width: int, tmp_path: Path) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for name in ("requests", "recalls"):
        opened(page, f"{engineers_url}{name}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
