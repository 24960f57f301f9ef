"""The page Annotate in a real browser, by keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fastapi import HTTPException
from playwright.sync_api import expect

from plugins.pacs import Person
from sluice.annotation.answers import Answer, annotate
from sluice.canonical.index import Geometry, MadePicture, keep
from sluice.canonical.shards import ShardWriter
from sluice.canonical.upkeep import remove
from sluice.database import select
from sluice.neighbours import embeddings
from sluice.neighbours.duplicates import note_duplicates
from sluice.neighbours.search import look
from sluice.settings import settings
from sluice.stack.postgres import EmbeddedPostgres
from tests.annotation.films import MODEL, SHADOW, Films
from tests.browser.conftest import serve_page
from tests.browser.test_page import opened
from tests.browser.test_page import page as watched  # noqa: F401  the tab whose complaints fail a test
from tests.conftest import temporary_database

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
HAND = Answer("others", "HAND", ("HAND",))


@pytest.fixture
def desk(postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Seven films with pictures and features, the hardest first, and the page as somebody sees it."""
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    monkeypatch.setenv("SLUICE_ANNOTATION_DOUBLE_SHARE", "1")
    settings.cache_clear()
    with temporary_database(postgres) as database:
        films, root = Films(database), settings().canonical
        uids = [films.film(header="KNEE", sure=0.9 - number / 10, has_picture=False) for number in range(7)][::-1]
        pictures = [
            np.full((512, 512), 30 * number + 40, np.uint8) + np.eye(512, dtype=np.uint8) for number in range(7)
        ]
        with ShardWriter(database, root) as writer:
            shown = Geometry(512, 512, 0, 0, 512, 512)
            keep(database, writer, 1, [MadePicture(u, p, shown, "window") for u, p in zip(uids, pictures, strict=True)])
        embeddings.keep(database, root, MODEL, uids, np.random.default_rng(0).normal(5, 1, (7, 8)).astype(np.float32))
        who = {"name": "ada", "may_annotate": True, "may_adjudicate": True, "may_look": True, "ended": False}

        def person() -> Person:
            if who["ended"]:
                raise HTTPException(401, "Not authenticated")
            rights = {key: who[key] for key in ("may_annotate", "may_adjudicate", "may_look")}
            return Person(str(who["name"]), False, lambda pacs: False, **rights)  # type: ignore[arg-type]

        for url in serve_page(database, person):
            yield SimpleNamespace(url=f"{url}annotate", films=films, uids=uids, who=who, database=database, root=root)
    settings.cache_clear()


@pytest.fixture
def page(desk: Any, watched: Page) -> Page:  # noqa: F811
    """A tab that is closed before the server ends, for pictures may still be on their way."""
    return watched


@pytest.fixture
def tab(browser: Browser, desk: Any) -> Iterator[Page]:
    """A tab that may complain of answers that refuse."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


def answers(desk: Any) -> list[tuple[str, str, str | None, bool]]:
    with desk.database.transaction() as connection:
        rows = select(connection, "select * from annotation_now where reader = 'ada' order by annotation_id")
    return [(row["sop_instance_uid"], row["label"], row["examined"], row["accepted"]) for row in rows]


def on_desk(page: Page, uid: str) -> None:
    expect(page.locator(".stage > .frame img").first).to_have_attribute(
        "src", f"api/annotation/pictures/{uid}.png?task=body_part"
    )


def test_films_are_read_by_keys_alone(page: Page, desk: Any) -> None:
    one, two, three, four, *_ = desk.uids
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page, desk.url)
    on_desk(page, one)
    expect(page.locator(".said-of")).to_contain_text("knee")
    expect(page.locator(".reasons")).to_contain_text("header says otherwise")
    expect(page.locator(".near button")).to_have_count(6)
    assert any(two in url for url in asked), "the next picture is there before it is asked for"
    page.keyboard.press("Enter")
    on_desk(page, two)
    page.keyboard.type("foo")
    page.keyboard.press("Enter")
    expect(page.locator(".first")).to_contain_text("Keep my answer")
    page.keyboard.press("+")
    page.keyboard.type("toe")
    page.keyboard.press("Enter")
    expect(page.locator(".regions button")).to_have_text(["foot", "toe"])
    page.keyboard.press("Enter")
    on_desk(page, three)
    page.keyboard.press("ArrowRight")
    on_desk(page, four)
    page.keyboard.press("0")
    page.keyboard.press("Enter")
    expect(page.locator("[aria-labelledby=mine-title] .thumb")).to_have_count(3)
    assert answers(desk) == [
        (one, "others", "HAND", True),
        (two, "others", "FOOT", False),
        (four, "unclear", None, False),
    ]
    page.keyboard.press("ArrowLeft")
    on_desk(page, four)
    expect(page.locator("[aria-labelledby=mine-title] .thumb")).to_have_count(2)
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    expect(page.locator("[aria-labelledby=mine-title] .thumb")).to_have_count(3)
    for _ in range(3):
        page.keyboard.press("Enter")
    on_desk(page, three)
    expect(page.locator(".reasons")).to_contain_text("put off before")
    page.keyboard.press("Enter")
    expect(page.locator("#desk")).to_contain_text("Nothing waits for you")
    expect(page.locator("[aria-labelledby=mine-title] .thumb")).to_have_count(6)
    assert len(answers(desk)) == 7


def test_what_others_said_is_not_seen_before_ones_own_answer(page: Page, desk: Any) -> None:
    page.set_viewport_size({"width": 800, "height": 900})
    annotate(desk.database, "body_part", desk.uids[0], Answer("others", "FOOT"), "Zacharias")
    opened(page, desk.url)
    on_desk(page, desk.uids[0])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.keyboard.press("Enter")
    mine = page.locator("[aria-labelledby=mine-title]")
    expect(mine.locator(".thumb")).to_have_count(1)
    assert "Zacharias" not in page.content()
    page.keyboard.press("Enter")
    expect(mine).to_contain_text("Zacharias: foot")
    expect(mine).to_contain_text("differing")
    expect(mine.get_by_role("button", name="Take back")).to_have_count(1)


def test_a_third_decides_by_a_digit_and_sees_kappa(page: Page, desk: Any) -> None:
    for reader, answer in (("ben", HAND), ("cem", Answer("others", "FOOT"))):
        annotate(desk.database, "body_part", desk.uids[3], answer, reader)
    annotate(desk.database, "body_part", desk.uids[4], HAND, "ada")
    annotate(desk.database, "body_part", desk.uids[4], Answer("others", "FOOT"), "ben")
    opened(page, f"{desk.url}?show=decide")
    on_desk(page, desk.uids[3])
    expect(page.locator(".takes button")).to_have_text(["ben: hand1", "cem: foot2"])
    page.keyboard.press("Enter")
    expect(page.locator("#notice")).to_contain_text("before you decide")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    expect(page.locator("#desk")).to_contain_text("of 1 film you are one of the readers")
    page.get_by_role("button", name="Agreement and progress").click()
    expect(page.locator("#desk")).to_contain_text("Cohen's kappa")
    expect(page.locator("#desk")).to_contain_text("ben and cem")
    assert desk.films.execute("select examined from adjudication") == "FOOT"


def test_films_that_are_there_twice_stand_side_by_side(page: Page, desk: Any) -> None:
    note_duplicates(desk.database, desk.root, MODEL, look(desk.database, desk.root, MODEL))
    opened(page, f"{desk.url}?show=twice")
    expect(page.locator(".pairs figure").first).to_contain_text("two patients")
    expect(page.locator(".pairs figure").first.locator("img")).to_have_count(2)


def test_what_happened_meanwhile_is_one_clear_line(tab: Page, desk: Any) -> None:
    one, two, three, *_ = desk.uids
    opened(tab, desk.url)
    notice = tab.locator("#notice")
    annotate(desk.database, "body_part", one, HAND, "ada")  # in another tab
    tab.keyboard.press("Enter")
    expect(notice).to_contain_text("answered this film already, perhaps in another tab")
    on_desk(tab, two)
    desk.films.opt_out(two)
    tab.keyboard.press("Enter")
    expect(notice).to_contain_text("no such image here that may be used")
    on_desk(tab, three)
    desk.who["ended"] = True
    tab.keyboard.type("knee")
    tab.keyboard.press("Enter")
    tab.keyboard.press("Enter")
    expect(notice).to_contain_text("Your login has ended")
    on_desk(tab, three)
    expect(tab.get_by_role("combobox", name="Region examined")).to_have_value("knee")
    desk.who["ended"] = False
    tab.keyboard.press("Enter")
    expect(tab.locator("[aria-labelledby=mine-title]")).to_contain_text("knee")
    assert [row[:3] for row in answers(desk)] == [(one, "others", "HAND"), (three, "others", "KNEE")]


def test_a_picture_that_was_erased_and_a_model_that_was_replaced(tab: Page, desk: Any) -> None:
    remove(desk.database, desk.root, desk.uids[:1])
    desk.database.execute(
        "insert into canonical_image (sop_instance_uid, recipe, shard_id, offset_bytes, length_bytes, digest, "
        "source_rows, source_columns, crop_row, crop_column, crop_rows, crop_columns) "
        "values (%s, 1, %s, 0, 1, '', 1, 1, 0, 0, 1, 1)",
        (desk.uids[0], desk.films.shard),
    )  # the index says that there is one, the bytes are gone
    opened(tab, desk.url)
    expect(tab.locator("#notice")).to_contain_text("The picture of this film is not here any more")
    on_desk(tab, desk.uids[1])
    desk.database.execute(
        "insert into prediction (sop_instance_uid, model_id, task, label, score, detail) "
        "select sop_instance_uid, %s, task, 'spine', score, detail || '{\"examined\": \"SPINE\"}' from prediction",
        (SHADOW,),
    )
    desk.database.execute("update model set stage = 'candidate' where model_id = %s", (MODEL,))
    desk.database.execute("update model set stage = 'production' where model_id = %s", (SHADOW,))
    tab.keyboard.press("Enter")
    expect(tab.locator("#notice")).to_contain_text("not the answer that counts by now")
    assert answers(desk) == []


def test_who_is_no_reader_is_told_whom_to_ask(page: Page, desk: Any) -> None:
    desk.who.update(may_annotate=False, may_adjudicate=False, may_look=False)
    opened(page, desk.url)
    expect(page.locator(".side")).to_contain_text("role reader")
    expect(page.locator(".first")).to_have_count(0)
    expect(page.locator(".near button")).to_have_count(6)
    assert page.locator("#modes button").all_inner_texts() == ["Read", "Agreement and progress"]
