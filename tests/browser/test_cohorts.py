"""The page Cohorts in a real browser: a filter as rows and as text in step, its preview, a version, and a list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from plugins.pacs import Person
from sluice.cohorts.freeze import freeze
from sluice.cohorts.language import digest, parse_text
from sluice.cohorts.versions import cohorts, versions
from sluice.database import Database
from sluice.stack.postgres import EmbeddedPostgres
from tests.browser.conftest import serve_page
from tests.browser.test_page import page as page  # the tab whose complaints fail a test
from tests.cohorts.small import SmallHospital
from tests.cohorts.workbooks import xlsx
from tests.conftest import temporary_database
from tests.pacs.sending import rows

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def hospital(postgres: EmbeddedPostgres) -> Iterator[Database]:
    with temporary_database(postgres) as database:
        SmallHospital(database, seed=3, patients=12)
        yield database


@pytest.fixture(scope="module")
def cohorts_url(hospital: Database) -> Iterator[str]:
    """The page as somebody sees it who may ask for cohorts."""
    for url in serve_page(hospital, lambda: Person("rita", True, lambda pacs: False, may_ask=True)):
        yield f"{url}cohorts"


@pytest.fixture(scope="module")
def viewers_url(hospital: Database) -> Iterator[str]:
    """The page as somebody sees it who may only look."""
    for url in serve_page(hospital):
        yield f"{url}cohorts"


def opened(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("body[data-state=drawn]")
    expect(page.locator("#preview .tiles")).to_be_visible()


def count(database: Database, modalities: str) -> str:
    (row,) = rows(
        database,
        "select count(*) as n from instance join series using (series_instance_uid) "
        f"where modality = any('{{{modalities}}}')",
    )
    return f"{row['n']:,}"


def test_a_filter_is_built_by_rows_with_the_keyboard_and_the_text_follows(
    page: Page, cohorts_url: str, hospital: Database
) -> None:
    opened(page, cohorts_url)
    text, words, keys = page.get_by_label("The same as text (YAML)"), page.locator("#words"), page.keyboard
    page.get_by_role("combobox", name="Field").fill("modality")
    keys.press("Enter")
    expect(page.get_by_role("combobox", name="Value of modality")).to_be_focused()
    for value in ("CT", "MR"):
        keys.type(value)
        keys.press("Enter")
    expect(text).to_have_value("modality: [CT, MR]\n")
    expect(words).to_have_text("Instances where modality is CT or MR.")
    expect(page.locator("#preview .tiles")).to_contain_text(f"{count(hospital, 'CT,MR')}instances here")
    expect(page.locator("#preview .charts")).to_contain_text("MR")
    keys.press("Backspace")
    expect(text).to_have_value("modality: CT\n")
    page.get_by_role("button", name="+ group").click()
    keys.type("age")
    keys.press("Enter")
    page.get_by_role("combobox", name="Operator").nth(1).select_option("min")
    page.get_by_label("Value of age").fill("18")
    expect(text).to_have_value("modality: CT\nany:\n  - age: {min: 18}\n")
    page.get_by_role("button", name="Remove this group").click()
    expect(text).to_have_value("modality: CT\n")
    expect(page.locator("#preview .tiles")).to_contain_text(f"{count(hospital, 'CT')}instances here")


def test_a_filter_is_written_as_text_and_the_rows_follow(page: Page, cohorts_url: str) -> None:
    opened(page, cohorts_url)
    text = page.get_by_label("The same as text (YAML)")
    written = (
        "any:\n - modality: CT\n   age: {min: 18, below: 65}\n - not: {quality: {held: true}}\n"
        " - study_has: {modality: MR, series: {min: 2}}\n - tag: 0018,0050\n   min: 3\n"
        " - prediction: {task: ivc_filter, label: present, score: {min: 0.9}, view: AP}\n"
        " - body_part: {is: CHEST, by: fused}\n"
    )
    text.fill(written)
    expect(page.locator("#rows .row")).to_have_count(7)
    expect(page.locator("#rows")).to_contain_text("series min 2")
    expect(page.locator("#faults li")).to_have_count(0)
    page.get_by_role("combobox", name="Task").select_option("body_part")
    page.get_by_role("combobox", name="Task").select_option("ivc_filter")
    expect(text).to_have_value(re.compile(r"^any:\n  - ", re.MULTILINE))
    assert digest(parse_text(text.input_value())) == digest(parse_text(written)), "rows and text say the same"
    text.fill("modality: {contians: CT}\nagee: 3\n")
    expect(page.locator("#faults")).to_contain_text("Did you mean contains?")
    expect(page.locator("#faults")).to_contain_text("agee: there is no such field. Did you mean age?")
    expect(page.get_by_role("button", name="Freeze", exact=True)).to_be_disabled()
    text.fill("age: {min: 3}\n")
    expect(page.locator("#faults li")).to_have_count(0)
    page.get_by_role("button", name="One more condition on age").click()
    page.get_by_label("Value of age").nth(0).fill("70")
    page.get_by_label("Value of age").nth(1).fill("3")
    expect(page.locator("#rows .fault:visible")).to_contain_text("min is beyond max")


def test_an_older_preview_never_overtakes_a_newer(page: Page, cohorts_url: str, hospital: Database) -> None:
    opened(page, cohorts_url)
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "MR" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/cohorts/preview", hold)
    text = page.get_by_label("The same as text (YAML)")
    with page.expect_request("**/api/cohorts/preview") as asked:
        text.fill("modality: MR\n")
    text.fill("modality: CT\n")
    expect(page.locator("#preview .tiles")).to_contain_text(f"{count(hospital, 'CT')}instances here")
    assert asked.value.failure == "net::ERR_ABORTED", "the request that was overtaken is stopped"
    assert len(held) == 1
    page.unroute_all(behavior="ignoreErrors")


def test_a_version_is_frozen_compared_and_started(page: Page, cohorts_url: str, hospital: Database) -> None:
    opened(page, cohorts_url)
    text = page.get_by_label("The same as text (YAML)")
    form = page.locator("#freeze")
    for asked, why in (("modality: CT\n", "a trial"), ("modality: [CT, MR]\n", "with MR")):
        text.fill(asked)
        page.wait_for_selector("body[data-state=drawn]")
        form.get_by_label("Project").select_option("radiographs")
        form.get_by_label("Name").fill("thorax")
        form.get_by_label("Why").fill(why)
        page.get_by_role("button", name="Freeze", exact=True).click()
        expect(page.locator("#cohorts")).to_contain_text(why)
        expect(page.locator("#notice")).to_contain_text(re.compile(r"is frozen: [\d,]+ instances of \d+ stud"))
    (cohort,) = cohorts(hospital)
    assert [(row["version"], row["frozen_by"]) for row in versions(hospital, cohort["cohort_id"])] == [
        (2, "rita"), (1, "rita"),
    ]  # fmt: skip
    shown = page.locator("#cohorts .list")
    shown.get_by_text("Versions", exact=True).click()
    shown.get_by_text("What changed").click()
    expect(shown).to_contain_text("instances more")
    shown.get_by_text("Studies of v2").click()
    expect(shown.get_by_role("table", name="Studies of thorax").locator("tbody tr").first).to_be_visible()
    sent: list[str] = []

    def start(route: Route) -> None:
        sent.append(route.request.post_data or "")
        route.fulfill(json={"dag_run_id": "manual__1"})

    page.route("**/api/v2/dags/backfill_cohort/dagRuns", start)
    page.route("**/api/v2/dags/backfill_cohort", lambda route: route.fulfill(json={"is_paused": len(sent) == 2}))
    shown.get_by_role("button", name="Release v2 as it is").first.click()
    estimate = shown.get_by_role("group", name="Estimate")
    expect(estimate).to_contain_text(f"{count(hospital, 'CT,MR')} instances")
    expect(estimate).to_contain_text("Nothing was released yet")
    assert sent == []
    estimate.get_by_role("button", name="Start now").click()
    expect(page.locator("#notice")).to_contain_text("is started")
    assert '"version":2' in sent[0]
    shown.get_by_role("button", name="Release v2 as it is").first.click()
    estimate.get_by_role("button", name="Start now").click()
    expect(page.locator("#notice")).to_contain_text("The run waits: backfill_cohort is switched off in Airflow.")
    shown.get_by_role("button", name="Edit the filter").click()
    expect(text).to_have_value("modality: [CT, MR]\n")


def test_a_list_is_uploaded_and_every_row_has_an_answer(
    page: Page, cohorts_url: str, hospital: Database, tmp_path: Path
) -> None:
    opened(page, cohorts_url)
    uid = "1.2.3.9"
    hospital.execute(
        "insert into receipt (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, "
        "transfer_syntax_uid, source, calling_ae, called_ae, peer, association, bytes, sha256, path) "
        "values ('1.2.3.9.1', '1', %s, '1', '1', 'push', 'P', 'S', 'h', gen_random_uuid(), 1, 'x', 'x')",
        (uid,),
    )
    file = tmp_path / "My list.xlsx"
    file.write_bytes(xlsx({"S": [["Study UID", "Remark"], [uid, "x"], ["1.2.3.4", None], ["*", None], [uid, None]]}))
    expect(page.locator("#upload")).to_contain_text("Name no patient in it.")
    name = page.locator("#upload").get_by_label("Name", exact=True)
    name.fill("My list!")
    page.get_by_label("Choose a file …").set_input_files(file)
    expect(name).to_be_focused()  # the browser says beside it what a name is made of
    expect(page.locator("#lists")).to_contain_text("No list was uploaded yet.")
    name.fill("")
    page.get_by_label("Choose a file …").set_input_files(file)
    shown = page.locator("#lists .list")
    expect(shown).to_contain_text("My list.xlsx · 4 rows, 1 of them asks the same as another")
    expect(page.locator("#notice")).to_contain_text("4 rows of My list.xlsx are kept as")
    table = shown.get_by_role("table")
    expect(table.locator("tbody tr")).to_have_count(4)
    expect(table).to_contain_text("One study;")
    shown.get_by_role("button", name="refused").click()
    expect(table.locator("tbody tr")).to_have_count(1)
    expect(table).to_contain_text("Wildcards")
    with page.expect_download() as download:
        shown.get_by_role("link", name="Download answers").click()
    assert download.value.path().read_text(encoding="utf-8-sig").splitlines()[1].split(",")[3] == uid
    shown.get_by_role("button", name="Delete").click()
    expect(shown.get_by_role("button", name="Really delete?")).to_be_visible()
    assert len(rows(hospital, "select from cohort_list")) == 1, "one click must not delete"
    shown.get_by_role("button", name="Really delete?").click()
    expect(page.locator("#lists")).to_contain_text("No list was uploaded yet.")
    assert rows(hospital, "select from cohort_list_row") == []


def test_who_may_only_look_builds_and_counts_and_changes_nothing(page: Page, viewers_url: str) -> None:
    opened(page, viewers_url)
    page.get_by_label("The same as text (YAML)").fill("modality: CT\n")
    expect(page.locator("#words")).to_have_text("Instances where modality is CT.")
    expect(page.locator("#freeze")).to_be_hidden()
    expect(page.locator("#freeze + p")).to_contain_text("Who may start runs of backfill_cohort")
    assert page.locator("#file, .actions button, .starter button").count() == 0
    page.get_by_label("The same as text (YAML)").fill("patient_id: P1\n")
    expect(page.locator("#faults")).to_contain_text("identifies patients")


@pytest.fixture
def failing(browser: Browser) -> Iterator[Page]:
    """A tab in which requests may fail."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def test_a_draft_outlives_a_reload_and_is_shown_to_nobody_else(page: Page, cohorts_url: str, viewers_url: str) -> None:
    opened(page, cohorts_url)
    text = page.get_by_label("The same as text (YAML)")
    text.fill("patient_id: SECRET\n")
    expect(page.locator("#words")).to_contain_text("SECRET")
    page.reload()
    expect(text).to_have_value("patient_id: SECRET\n")
    expect(page.locator("#rows .row")).to_have_count(1)
    expect(page.locator("#words")).to_contain_text("SECRET")
    page.get_by_role("link", name="PACS", exact=True).click()
    page.go_back()
    expect(text).to_have_value("patient_id: SECRET\n")
    kept = page.evaluate("sessionStorage.getItem('sluice-draft')")
    assert "SECRET" not in page.url
    opened(page, viewers_url)  # somebody else, in the same tab
    page.evaluate("kept => sessionStorage.setItem('sluice-draft', kept)", kept)
    opened(page, viewers_url)
    expect(text).to_have_value("{}\n")
    assert page.evaluate("sessionStorage.getItem('sluice-draft')") is None


def test_what_fails_is_said_where_one_looks_and_can_be_tried_again(
    failing: Page, cohorts_url: str, hospital: Database
) -> None:
    page = failing
    freeze(hospital, "failing", parse_text("modality: CT"), "rita", "a trial", "radiographs")
    opened(page, cohorts_url)
    notice, shown = page.locator("#notice"), page.locator("#cohorts .list").filter(has_text="failing")
    page.route("**/api/v2/dags/backfill_cohort/dagRuns", lambda route: route.fulfill(status=401, json={"detail": "x"}))
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    shown.get_by_role("button", name="Release v1 as it is").click()
    shown.get_by_role("button", name="Start now").click()
    expect(notice).to_contain_text("Your login has ended. Log in to Airflow in another tab")
    expect(notice).to_be_in_viewport()
    page.route("**/api/cohorts/*/versions*", lambda route: route.abort())
    shown.get_by_text("Versions", exact=True).click()
    expect(shown.locator(".notice")).to_contain_text("Airflow does not answer")
    page.unroute_all(behavior="ignoreErrors")
    shown.get_by_text("Versions", exact=True).click()
    shown.get_by_text("Versions", exact=True).click()
    expect(shown.get_by_role("table", name="Versions of failing")).to_be_visible()
    page.route("**/api/cohorts/read", lambda route: route.fulfill(status=500, body="Internal Server Error"))
    page.get_by_label("The same as text (YAML)").fill("modality: MR\n")
    expect(notice).to_contain_text("Airflow could not answer (500). Try again")
    expect(page.locator("#preview")).to_have_attribute("aria-busy", "true")  # it counts another filter
    page.unroute_all(behavior="ignoreErrors")
    notice.get_by_role("button", name="Try again").click()
    expect(page.locator("#words")).to_have_text("Instances where modality is MR.")
    expect(page.locator("#preview .tiles")).to_contain_text(f"{count(hospital, 'MR')}instances here")
    page.route(
        "**/api/cohorts/lists?*", lambda route: route.abort() if route.request.method == "POST" else route.continue_()
    )
    page.get_by_label("Choose a file …").set_input_files(
        {"name": "a.csv", "mimeType": "text/csv", "buffer": b"accession\n1\n"}
    )
    expect(notice).to_contain_text("The file was not sent. Airflow does not answer")


def test_releases_of_a_cohort_stand_with_it(page: Page, cohorts_url: str, hospital: Database) -> None:
    freeze(hospital, "left", parse_text("modality: CT"), "rita", "a trial", "radiographs")
    hospital.execute(
        "insert into release (project, version, window_key, member_digest, bucket, prefix, profile) "
        "values ('radiographs', 7, 'cohort/radiographs/left/v1', 'x', 'b', 'radiographs/v7/', '{}')"
    )
    hospital.execute(
        "insert into release_member (release_id, sop_instance_uid, held_reason) "
        "select release_id, '1.2.3', 'held-residual' from release"
    )
    opened(page, cohorts_url)
    shown = page.locator("#cohorts .list").filter(has_text="left")
    shown.get_by_text("Releases", exact=True).click()
    expect(shown).to_contain_text("radiographs v7")
    expect(shown).to_contain_text("1: The independent re-read found an identifier")
    expect(shown.get_by_role("link", name="All about cohort/radiographs/left/v1")).to_have_attribute(
        "href", "./?window=cohort%2Fradiographs%2Fleft%2Fv1"
    )


@pytest.mark.parametrize("width", [1280, 800, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_the_window_and_the_theme(page: Page, cohorts_url: str, tmp_path: Path, width: int, theme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    opened(page, cohorts_url)
    page.get_by_label("The same as text (YAML)").fill(
        "any:\n - modality: [CT, MR]\n   age: {min: 18, below: 65}\n - prediction: {task: ivc_filter, label: present}\n"
    )
    expect(page.locator("#rows .row")).to_have_count(3)
    assert page.get_attribute("html", "data-theme") == theme
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0, f"the page is {overflow} px wider than a window of {width} px"
    page.screenshot(path=tmp_path / f"{theme}-{width}.png", full_page=True)
