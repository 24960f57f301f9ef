"""Reports in the tables of a release: what the de-identified tree says by section, and nothing that it does not say."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydicom.dataset import Dataset

from sluice.database import select
from sluice.deid.engine import deidentify
from sluice.deid.reread import reread
from sluice.deid.text import clean_report
from sluice.release import reports
from sluice.release.export import verify
from sluice.release.publishing import republish
from sluice.release.reports import sections_of
from sluice.release.review import open_review, remember
from sluice.release.review.strings import retained
from tests.deid.planted import CT, encoded, image
from tests.deid.test_structured import CLASSES, IDENTITIES, WORDS, code, document, item, number, reference
from tests.release.hospital_day import store_day
from tests.release.scene import Scene

FINDING, IMPRESSION, HEADING = code("121071"), code("121073"), code("121070", meaning="Findings")
FORMATS = ["dicom", "tables"]
OPTIONS = ["clean_structured_content", "clean_descriptors"]
WITH_REPORTS = {"selection": {"modality": ["CT", "SR", "KO"]}, "options": OPTIONS, "formats": FORMATS}


def rows_of(data: bytes) -> list[dict[str, Any]]:
    """What the table says of a report once it is de-identified."""
    return sections_of(reread(deidentify(data, WORDS, IDENTITIES).data))


def table_of(scene: Scene, version: int = 1, revision: str = "") -> list[dict[str, Any]]:
    body = scene.bucket.get(f"radiographs/v{version}/{revision}tables/reports.parquet")
    rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(body)).to_pylist()
    return rows


def report(
    content: list[Dataset], number: int = 1, study: int = 1, edit: Callable[[Dataset], None] | None = None, **of: Any
) -> Dataset:
    """A report in a study of images, as instance 9 and so on of a series of its own."""
    dataset = document(content, of.pop("sop_class", CLASSES["Enhanced SR"]))
    uid = f"{dataset.StudyInstanceUID[:-2]}.{study}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid, f"{uid}.5"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{uid}.5.{number}"
    for name, value in of.items():
        setattr(dataset, name, value)
    if edit:
        edit(dataset)
    return dataset


def nested(depth: int, inner: Dataset) -> Dataset:
    for _ in range(depth):
        inner = item("CONTAINER", HEADING, ContentSequence=[inner])
    return inner


def test_sections_follow_the_tree() -> None:
    first = image(1, sop_class=CT)
    content = [
        item("CODE", code("121049"), "HAS CONCEPT MOD", ConceptCodeSequence=[code("de", "RFC5646", "Deutsch")]),
        item("CODE", code("121032"), "HAS OBS CONTEXT", ConceptCodeSequence=[code("F", "DCM", "Female")]),
        item("CONTAINER", HEADING, ContentSequence=[
            item("TEXT", FINDING, TextValue="Fraktur des Thorax. Befund von Gravelbottom."),
            item("TEXT", FINDING, TextValue="Thorax ohne Befund."),
            item("NUM", code("121207"), MeasuredValueSequence=number("12.5")),
            item("CONTAINER", code("121074"), ContentSequence=[
                item("CODE", FINDING, ConceptCodeSequence=[code("72704001", "SCT", "Fracture of J. Brown")])]),
        ]),
        item("TEXT", IMPRESSION, TextValue="Fraktur.", ContentSequence=[
            item("IMAGE", None, "INFERRED FROM", ReferencedSOPSequence=reference(first.SOPInstanceUID))]),
    ]  # fmt: skip
    rows = rows_of(encoded(report(content)))
    told = [(row["section"], row["section_path"], row["text"], row["coded"], row["gaps"]) for row in rows]
    assert told == [
        (1, None, None, None, 0),
        (2, "Findings", None, ["Height = 12.5 mm"], 0),
        (3, "Findings > Finding", "Fraktur des Thorax. Befund von [...].\nThorax ohne Befund.", None, 1),
        (4, "Findings > Recommendations", None, ["Finding = 72704001 (SCT 72704001)"], 0),
        (5, "Impression", "Fraktur.", None, 0),
    ]
    assert {row["title_code"] for row in rows} == {"126000"}
    assert {row["language"] for row in rows} == {"de"}
    assert {(row["completion_flag"], row["verification_flag"], row["is_cut"]) for row in rows} == {
        ("COMPLETE", "UNVERIFIED", False)
    }
    assert rows[-1]["referenced_instances"] == [IDENTITIES.uid(str(first.SOPInstanceUID))]


@pytest.mark.parametrize(
    ("sets", "name", "text"),
    [
        ("ISO_IR 100", "Größmüller^Jürgen", "Fraktur. Herr Größmüller, Jürgen. GRÖSSMÜLLER thorax"),
        ("ISO_IR 192", "Größmüller^Jürgen", "Fraktur. Groessmueller Jürgen thorax"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", "Fraktur 山田 太郎 Yamada thorax"),
        (["ISO 2022 IR 6", "ISO 2022 IR 100"], "Größmüller^Jürgen", "Fraktur Größmüller thorax"),
        ("GB18030", "Wang^XiaoDong=王^小东", "Fraktur 王小东 thorax"),
    ],
)
def test_planted_names_are_in_no_row(scene: Scene, sets: Any, name: str, text: str) -> None:
    def edit(dataset: Dataset) -> None:
        dataset.SpecificCharacterSet, dataset.PatientName = sets, name

    content = [
        item("TEXT", FINDING, TextValue=text),
        nested(6, item("TEXT", IMPRESSION, TextValue=text)),
        item("PNAME", code("121008"), PersonName=name),
    ]
    store_day(scene.database, scene.archive, [report(content, edit=edit)])
    published = scene.release(scene.project(**WITH_REPORTS))
    assert published.objects == 1
    rows = table_of(scene)
    texts = [row["text"] for row in rows if row["text"]]
    assert len(texts) == 2
    assert all("Fraktur" in text and "thorax" in text and "[...]" in text for text in texts)
    told = repr(rows).casefold()
    for part in name.replace("=", "^").split("^"):
        assert part.casefold() not in told


def test_what_stands_in_the_table_was_judged_and_pooled() -> None:
    """Every line of text is a value of the produced file as the checks' own reader has it, and a string for review."""
    content = [nested(2, item("TEXT", FINDING, TextValue="Thorax und Hand, Frau Quillfeather")),
               item("TEXT", IMPRESSION, TextValue="Röntgen\nThorax")]  # fmt: skip
    produced = reread(deidentify(encoded(report(content)), WORDS, IDENTITIES).data)
    values = {one.text() for one in produced.elements}
    pooled = {one.value for one in retained(produced, "")}
    texts = [row["text"] for row in sections_of(produced) if row["text"]]
    assert len(texts) == 2
    assert set(texts) <= values & pooled


def test_a_release_has_its_reports_and_forgets_what_a_person_takes_out(scene: Scene) -> None:
    day = [
        image(1),
        report([item("TEXT", FINDING, TextValue="Fracture of the hand")]),
        report([item("TEXT", FINDING, TextValue="Thorax")], 2),
        report([item("IMAGE", ReferencedSOPSequence=reference(str(image(1).SOPInstanceUID)))], 3,
               sop_class=CLASSES["Key Object Selection"], Modality="KO",
               ConceptNameCodeSequence=[code("113000", "DCM", "Of Interest")]),
    ]  # fmt: skip
    store_day(scene.database, scene.archive, day)
    project = scene.project(**WITH_REPORTS)
    release_id = scene.exported_release(project)
    with scene.database.transaction() as connection:
        found = select(connection, "select string_id, value from retained_string where vr = 'UT'")
    assert {row["value"] for row in found} == {"Fracture of the hand", "Thorax"}
    verify(scene.database, scene.bucket, release_id)
    open_review(scene.database, release_id)
    thorax = [row["string_id"] for row in found if row["value"] == "Thorax"]
    assert remember(scene.database, release_id, thorax, "remove", "anna") == 1
    with scene.database.transaction() as connection:  # nothing of it is kept until it was made anew
        assert "Thorax" not in repr(select(connection, "select sections from report_reading"))
    published = scene.release(project)
    assert published.release_id == release_id
    rows = table_of(scene)
    texts = {row["text"] for row in rows}
    assert "Fracture of the hand" in texts
    assert "Thorax" not in repr(rows)
    (of_interest,) = [row for row in rows if row["title_code"] == "113000"]
    headers = pq.read_table(io.BytesIO(scene.bucket.get("radiographs/v1/tables/headers.parquet"))).to_pylist()
    (picture,) = [row["sop_instance_uid"] for row in headers if row["modality"] == "CT"]
    assert of_interest["referenced_instances"] == [picture]
    assert {row["key"] for row in rows} == {row["key"] for row in headers if row["modality"] != "CT"}
    described = json.loads(scene.bucket.get("radiographs/v1/tables/dictionary.json"))
    assert {row["name"] for row in described if row["table"] == "reports"} == set(rows[0])


def test_a_later_version_has_the_reports_that_it_contains(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    store_day(scene.database, scene.archive, [report([item("TEXT", FINDING, TextValue="Thorax")])])
    project = scene.project(**WITH_REPORTS)
    scene.release(project)
    store_day(scene.database, scene.archive, [report([item("TEXT", FINDING, TextValue="Hand")], study=2,
                                                     PatientID="PID-88")], day="2026-10-27")  # fmt: skip
    scene.database.execute("delete from report_reading")  # as of a version that was published before there were any
    read: list[str] = []
    get = reports._read
    monkeypatch.setattr(reports, "_read", lambda store, key, digest: (read.append(key), get(store, key, digest))[1])
    scene.release(project, "2026-10-27")
    assert sorted(row["text"] for row in table_of(scene, 2) if row["text"]) == ["Hand", "Thorax"]
    assert len(read) == len(set(read)) == 2
    republish(scene.database, scene.bucket, 2, scene.keys)
    assert len(read) == 2  # once for all versions


def test_who_is_rare_is_not_told_by_a_report(scene: Scene) -> None:
    content = [item("TEXT", FINDING, TextValue="Thorax"), item("CODE", FINDING, ConceptCodeSequence=[
        code("51185008", "SCT", "Chest")])]  # fmt: skip
    store_day(scene.database, scene.archive, [report(content), image(1)])
    scene.release(scene.project(**WITH_REPORTS, anonymity={"k": 3, "policy": "suppress"}))
    rows = table_of(scene)
    assert rows
    for row in rows:
        told = ("text", "coded", "title", "concept", "section_path", "content_date")
        assert {name: row[name] for name in told} == dict.fromkeys(told)


def test_a_hostile_report_is_bounded_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 MB of words, of items and of what once took the square of its length."""
    line = "Thorax Hand Fraktur Herr Quillfeather "
    data = encoded(report([item("TEXT", FINDING, TextValue=line * (10_000_000 // len(line)))]))
    assert len(data) > 9_000_000
    monkeypatch.setattr("sluice.deid.structured.text.clean_report", lambda text: text.replace("Quillfeather", "[...]"))
    rows = rows_of(data)
    assert [row["is_cut"] for row in rows] == [True, True]
    assert len(rows[1]["text"]) == reports.MOST_CHARACTERS
    many = [item("CONTAINER", HEADING, ContentSequence=[item("TEXT", FINDING, TextValue="Hand")]) for _ in range(3000)]
    rows = rows_of(encoded(report(many)))
    assert (len(rows), rows[0]["is_cut"]) == (reports.MOST_SECTIONS, True)


def test_a_chain_of_dimensions_takes_no_square_of_its_length() -> None:
    """Work is counted, not time: each word is looked at a bounded number of times."""
    looked = 0

    class Counted(str):
        def __eq__(self, other: object) -> bool:
            nonlocal looked
            looked += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    from sluice.deid import text

    words: list[str] = [Counted(word) for word in ("1 x " * 2_000).split()]
    for position in range(len(words)):
        text._belongs(words, position, frozenset(), frozenset())
    assert looked < 50 * len(words)


def test_a_double_name_of_words_of_the_list_goes() -> None:
    assert clean_report("befundet von Hand-Brown") == "[...] von [...]"
    assert clean_report("Patient Brown-Hand fell") == "[...] fell"
    assert clean_report("Kopf-Hals ohne Befund") == "Kopf-Hals ohne Befund"
