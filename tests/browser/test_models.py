"""The pages Models, IVC filters and Routing in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from playwright.sync_api import expect
from psycopg2.extras import Json

from plugins.pacs import Person
from sluice.canonical.index import Geometry, MadePicture, keep
from sluice.canonical.shards import ShardWriter
from sluice.registry.registry import history, note_evaluation
from sluice.settings import settings
from sluice.stack.postgres import EmbeddedPostgres
from tests.browser.conftest import serve_page
from tests.browser.test_page import opened
from tests.browser.test_page import page as page  # the tab whose complaints fail a test
from tests.conftest import temporary_database
from tests.registry.test_registry import answers
from tests.reports.scene import BODY, ReadStudy
from tests.routing.test_deciding import TEXT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
NEW = "body_part-tiny-abababababab"


@pytest.fixture
def read(postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReadStudy]:
    """A study that was read, a candidate beside the model in production, rules."""
    (tmp_path / "routing.yaml").write_text(TEXT)
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    monkeypatch.setenv("SLUICE_ROUTING", str(tmp_path / "routing.yaml"))
    monkeypatch.setenv("SLUICE_SHADOW_FILMS", "2")
    settings.cache_clear()
    with temporary_database(postgres) as database:
        read = ReadStudy(database, tmp_path / "archive")
        confusion = {"truth": ["spine", "others"], "said": ["spine", "others"], "counts": [[30, 10], [0, 260]]}
        card = {
            "limits": ["Seen in two films only."],
            "figures": {"confusions": {"router5": {"internal": confusion}}},
        }
        database.execute(
            "insert into model (model_id, task, architecture, weights_sha256, card, stage) "
            "values (%s, 'body_part', 'tiny', '', %s, 'candidate')",
            (NEW, Json(card)),
        )
        for model, wrong in ((BODY, 12), (NEW, 9)):
            metrics = {"router5 macro F1": {"value": 1 - wrong / 300, "ci95": [0.93, 0.99], "films": 300}}
            note_evaluation(
                database,
                model,
                {"evaluation_set": "s", "set_name": "unseen films", "films": 300, "patients": 150,
                 "metrics": metrics, "answers": answers(wrong)},
            )  # fmt: skip
        here: dict[str, Any] = {"evaluation_set": "h", "set_name": "films of this site", "films_of": "site"}
        few = here | {"films": 12, "patients": 9, "metrics": {}, "answers": {}}
        note_evaluation(database, BODY, few | {"evaluation_set": "before"})
        for model, wrong in ((BODY, 2), (NEW, 1)):
            metrics = {"router5 macro F1": {"value": 1 - wrong / 40, "ci95": [0.85, 1.0], "films": 40}}
            note_evaluation(
                database,
                model,
                here | {"films": 40, "patients": 20, "metrics": metrics, "answers": answers(wrong, 40)},
            )
        database.execute(
            "insert into prediction (sop_instance_uid, model_id, task, label, score, detail) "
            "select sop_instance_uid, %s, task, case when row_number() over (order by sop_instance_uid) = 1 "
            "then 'spine' else label end, score, detail from prediction where model_id = %s",
            (NEW, BODY),
        )
        picture = np.tile(np.arange(512, dtype=np.uint16) // 3, (512, 1)).astype(np.uint8)
        with ShardWriter(database, settings().canonical) as writer:
            shown = Geometry(512, 512, 0, 0, 512, 512)
            keep(database, writer, 1, [MadePicture(uid, picture, shown, "window") for uid in read.films])
        yield read
    settings.cache_clear()


@pytest.fixture
def url(read: ReadStudy) -> Iterator[str]:
    ada = Person("ada", True, lambda pacs: False, may_promote=True, may_correct=True)
    yield from serve_page(read.database, lambda: ada)


def test_a_model_is_moved_by_keyboard_with_a_reason(page: Page, url: str, read: ReadStudy) -> None:
    opened(page, f"{url}models")
    model = page.locator(f"[data-model='{NEW}']")
    expect(page.locator(f"[data-model='{BODY}'] .badge")).to_have_text("production, reads")
    expect(model.locator(".measures").first).to_contain_text("0.970 0.930–0.990")
    for words, stage in (("Read as a shadow", "shadow"), ("Promote", "production, reads")):
        field = model.get_by_role("textbox")
        field.focus()
        page.keyboard.type("better on limbs")
        field.press("Tab")
        expect(model.get_by_role("button", name=words)).to_be_focused()
        page.keyboard.press("Enter")
        expect(model.locator(".badge").first).to_have_text(stage)
        expect(page.locator("#notice")).to_contain_text(NEW)
    assert [(one["event"], one["by"], one["reason"]) for one in history(read.database, NEW)] == [
        ("production", "ada", "better on limbs"), ("shadow", "ada", "better on limbs"),
    ]  # fmt: skip
    model.get_by_text("Gate, history, card").click()
    expect(model.locator("ul.why").last).to_contain_text("Seen in two films only.")


@pytest.mark.parametrize("width", [800, 1280])
def test_a_card_shows_its_confusions_and_what_it_does_on_films_of_this_site(page: Page, url: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    opened(page, f"{url}models")
    model = page.locator(f"[data-model='{NEW}']")
    of_site = model.get_by_role("list", name="Measures on films of this site")
    expect(of_site).to_contain_text("0.975 0.850–1.000")
    expect(model).to_contain_text("On 40 confirmed films of 20 patients of this site")
    model.get_by_text("Gate, history, card").click()
    expect(model.locator("ul.why").first).to_contain_text("✓ Of this site, router5 macro F1")
    model.get_by_text("Confusion: router class").click()
    shown = model.get_by_role("table", name="Router class, internal: 300 films")
    expect(shown.locator("tbody tr")).to_have_count(2)
    row = shown.locator("tbody tr").first
    assert row.inner_text().split() == ["spine", "40", "30", "10"]
    right, wrong = (row.locator("td").nth(place) for place in (1, 2))
    assert "right" in str(right.get_attribute("class"))
    assert right.evaluate("cell => getComputedStyle(cell).backgroundColor") != wrong.evaluate(
        "cell => getComputedStyle(cell).backgroundColor"
    )
    assert shown.locator("tbody tr").nth(1).locator("td").nth(1).inner_text() == ""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_too_few_films_of_this_site_are_said(page: Page, url: str, read: ReadStudy) -> None:
    read.database.execute("delete from model_evaluation where evaluation_set = 'h'")
    opened(page, f"{url}models")
    expect(page.locator(f"[data-model='{BODY}']")).to_contain_text(
        "12 confirmed films of 9 patients of this site: too few"
    )
    expect(page.locator(f"[data-model='{NEW}']")).to_contain_text("No confirmed film of this site measures it yet.")


def test_the_gates_refusal_is_read_on_the_page(browser: Browser, url: str, read: ReadStudy) -> None:
    page = browser.new_page()  # the browser itself complains of an answer that refuses
    read.database.execute("update model set stage = 'shadow' where model_id = %s", (NEW,))
    read.database.execute("delete from prediction where model_id = %s", (NEW,))
    opened(page, f"{url}models")
    model = page.locator(f"[data-model='{NEW}']")
    model.get_by_role("textbox").fill("I like it")
    with page.expect_response(lambda answer: answer.url.endswith("/moves")) as said:
        model.get_by_role("button", name="Promote").click()
    assert said.value.status == 422
    expect(page.locator("#notice")).to_contain_text("read 0 images")
    page.close()


def test_pictures_stand_with_their_boxes_and_a_person_rules_one_out(page: Page, url: str, read: ReadStudy) -> None:
    page.set_viewport_size({"width": 800, "height": 900})
    opened(page, f"{url}filters")
    patient = page.locator(".patient")
    expect(patient).to_have_count(1)
    expect(patient).to_contain_text("PID-4711-77")
    patient.locator("summary").click()
    box = patient.locator("figure .box")
    expect(box).to_have_count(1)
    assert box.evaluate("box => box.style.left") == f"{100 * 200 / 512}%"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    patient.get_by_role("button", name="No filter").click()
    expect(page.locator(".patient .badge").first).to_have_text("rejected")
    with page.expect_download() as got:
        page.get_by_role("button", name="Download as CSV").click()
    assert "PID-4711-77" in Path(got.value.path()).read_text()


def test_a_dry_run_says_where_and_a_report_is_asked_for(page: Page, url: str, read: ReadStudy) -> None:
    opened(page, f"{url}routing")
    expect(page.locator("#rules tbody tr")).to_have_count(3)
    page.get_by_label("Study Instance UID").fill(read.study)
    page.keyboard.press("Enter")
    expect(page.locator("#taken tbody tr")).to_have_count(3)
    expect(page.locator("#taken")).to_contain_text("ivc_filter present 0.88")
    page.get_by_role("button", name="Ask for it").click()
    expect(page.locator("#notice")).to_contain_text("send_reports sends it to pacs_main")
    assert "Nothing was decided yet." in page.inner_text("#decisions")


def test_a_reader_sees_no_buttons_and_the_server_refuses(page: Page, read: ReadStudy) -> None:
    for url in serve_page(read.database, lambda: Person("eve", False, lambda pacs: False)):
        opened(page, f"{url}models")
        assert page.locator("form.move").count() == 0
        body = json.dumps({"model": NEW, "to": "shadow", "reason": "x"})
        headers = {"Content-Type": "application/json", "Origin": url.split("/sluice")[0]}
        answer = page.request.post(f"{url}api/models/moves", data=body, headers=headers)
        assert answer.status == 403
        assert "train_models" in answer.text()
