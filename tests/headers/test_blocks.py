from __future__ import annotations

import io
import json
import random
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless

from sluice.cohorts.compile import selected
from sluice.cohorts.fields import Level
from sluice.cohorts.language import parse
from sluice.database import Database, select
from sluice.headers.blocks import NoHeaderError, elements_of_series, header_of, headers_of, original_bytes
from sluice.headers.dictionaries import Dictionaries, kind_of
from sluice.headers.extract import extract
from sluice.headers.promotion import fill, promote
from sluice.headers.reading import read_header, read_kept
from sluice.headers.templates import Template, Templates, is_own
from tests.headers.archive import receive
from tests.headers.reference import differences
from tests.headers.test_extract import ct, dicom_files, rows
from tests.headers.test_parser import data_set, encoded


def level(value: Any) -> Any:
    """Postgres writes the digits of a large number out, which Python takes for an integer with all of them."""
    if isinstance(value, dict):
        return {key: level(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [level(inner) for inner in value]
    return float(value) if isinstance(value, int) and abs(value) > 1 << 53 else value


def test_every_sample_comes_back_from_its_block_as_it_was_read_and_byte_for_byte(
    database: Database, tmp_path: Path, shared_data: Path
) -> None:
    files = {f"2.25.{n}": path for n, path in enumerate(dicom_files(shared_data))}
    # several series for the receipts, so that many blocks have more than one instance
    (batch,) = receive(database, tmp_path, files.items())
    summary = extract(database, tmp_path, batch, workers=0)
    assert summary.indexed > 350
    with database.transaction() as connection:
        headers = dict(headers_of(connection, files))
        assert len(headers) == summary.indexed
        largest = select(connection, "select max(instances) as most from header_block")
        assert largest[0]["most"] > 20
    compared, cut = 0, 0
    for uid, header in headers.items():
        path = files[uid]
        alone = read_header(path)
        assert level(header) == level(json.loads(alone.json)), path.name
        assert list(header) == sorted(header)
        with warnings.catch_warnings(), pydicom.config.disable_value_validation():
            warnings.simplefilter("ignore")
            assert not differences(header, pydicom.dcmread(path, force=True)), path.name
        kept = original_bytes(database, uid)
        assert read_kept(kept).json == alone.json, path.name
        raw = path.read_bytes()
        left_out = {hole.offset for hole in kept.holes if hole.is_fragments}
        if not kept.is_inflated:
            assert kept.size == len(raw)
            assert all(raw[at : at + len(piece)] == piece for at, piece in kept.pieces() if at not in left_out), path
            compared += 1
            cut += bool(kept.holes)
    assert compared > 350
    assert cut > 200


def test_a_single_image_is_compressed_against_one_of_its_kind_without_that_ones_patient(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def radiograph(number: int) -> tuple[str, bytes]:
        uid, chance = f"2.25.{number}", random.Random(7)
        ds = data_set(StudyInstanceUID=f"{uid}.1", SeriesInstanceUID=f"{uid}.2", SOPInstanceUID=uid, Modality="DX")
        ds.StationName, ds.PatientName, ds.PatientID = "DX 1", f"Geheim{number}^Person", f"P{number}4711"
        ds.AccessionNumber, ds.ImageComments, ds.OperatorsName = f"ACC{number}", f"text {number}", "Wer^Auch"
        block = ds.private_block(0x0019, "ACME", create=True)
        for place in range(60):
            block.add_new(place, "LO", f"{chance.getrandbits(80):x}")
        return uid, encoded(ds)

    monkeypatch.setattr("sluice.headers.building.DICTIONARIES", Dictionaries())
    files = dict(radiograph(number) for number in range(1, 6))
    (batch,) = receive(database, tmp_path, files.items())
    extract(database, tmp_path, batch, workers=0)
    (dictionary,) = rows(database, "select content from header_dictionary")
    for secret in (b"Geheim", b"4711", b"ACC", b"text", b"Wer^Auch", b"2.25.1"):
        assert secret not in bytes(dictionary["content"])
    sizes = [row["size"] for row in rows(database, "select length(content) as size from header_block")]
    assert max(sizes) < 400 < min(len(data) for data in files.values()) / 4
    for uid, data in files.items():
        assert original_bytes(database, uid).data == data
    monkeypatch.setattr("sluice.headers.building.DICTIONARIES", Dictionaries())  # another process
    more = dict(radiograph(number) for number in range(6, 8))
    (batch,) = receive(database, tmp_path, more.items())
    extract(database, tmp_path, batch, workers=0)
    assert len(rows(database, "select from header_dictionary")) == 1
    assert original_bytes(database, "2.25.6").data == more["2.25.6"]


def test_a_single_image_keeps_only_what_it_says_otherwise_than_its_kind(
    database: Database, owner: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def radiograph(number: int, patient: str, **elements: Any) -> tuple[str, bytes]:
        uid, chance = f"2.25.{number}", random.Random(7)
        ds = data_set(StudyInstanceUID=f"{uid}.1", SeriesInstanceUID=f"{uid}.2", SOPInstanceUID=uid, Modality="DX")
        ds.StationName, ds.PatientName, ds.PatientID = "DX 1", "Gleich^Immer", patient
        ds.ImageComments, ds.StudyDate, ds.FilterType, ds.KVP = "Gleich", "20261026", "NONE", "70"
        block = ds.private_block(0x0019, "ACME", create=True)
        for place in range(60):
            block.add_new(place, "LO", f"{chance.getrandbits(80):x}")
        for keyword, value in elements.items():
            setattr(ds, keyword, value)
        return uid, encoded(ds)

    monkeypatch.setattr("sluice.headers.building.TEMPLATES", Templates())
    files = dict([radiograph(1, "P1"), radiograph(2, "P1"), radiograph(3, "P2"), radiograph(4, "P3", KVP="55")])
    _, without = radiograph(5, "P4")
    ds = pydicom.dcmread(io.BytesIO(without))
    del ds.FilterType
    files["2.25.5"] = encoded(ds)
    same = {"StudyInstanceUID": "2.25.9", "SeriesInstanceUID": "2.25.8"}
    later = radiograph(6, "P5", KVP="60", **same), radiograph(7, "P5", **same)
    (batch,) = receive(database, tmp_path, files.items())
    extract(database, tmp_path, batch, workers=0)
    monkeypatch.setattr("sluice.headers.building.TEMPLATES", Templates())  # another process
    (batch,) = receive(database, tmp_path, later)
    extract(database, tmp_path, batch, workers=0)
    files |= dict(later)

    (template,) = rows(database, "select elements, written from header_template")
    assert len(template["elements"]) > 60
    for own in ("Gleich", "20261026", "P1", "2.25.1"):  # though two patients agree in some of them
        assert own not in template["written"]
    blocks = {row["uid"]: row for row in rows(
        database,
        "select min(i.sop_instance_uid) as uid, b.template_id is not null as is_apart, b.lacks, "
        "length(b.elements::text) as own, length(b.shared::text) as whole "
        "from header_block b join instance i using (block_id) group by b.block_id",
    )}  # fmt: skip
    assert [blocks[f"2.25.{n}"]["is_apart"] for n in (1, 2, 3, 4, 5, 6)] == [False, False, True, True, True, True]
    assert all(row["own"] < row["whole"] / 3 for row in blocks.values() if row["is_apart"])
    assert blocks["2.25.5"]["lacks"] == ["00181160"]
    assert blocks["2.25.6"]["lacks"] == ["00180060"]  # its two images differ in it

    for uid, data in files.items():
        path = tmp_path / "one.dcm"
        path.write_bytes(data)
        assert header_of(database, uid) == json.loads(read_header(path).json)
        assert original_bytes(database, uid).data == data
    one = rows(
        database,
        "select sop_instance_uid as uid, header_element(block_id, block_position, '00180060') as kvp, "
        "header_element(block_id, block_position, '00181160') as filter from instance order by 1",
    )
    assert [row["kvp"]["Value"] for row in one] == [[70], [70], [70], [55], [70], [60], [70]]
    assert [row["filter"] is None for row in one] == [False, False, False, False, True, False, False]
    for tag in ("00180060", "00181160", "00080060"):
        many = rows(
            database,
            "select i.sop_instance_uid as uid, e.element "
            f"from header_elements('{tag}', array(select block_id from header_block)) e join instance i "
            "on i.block_id = e.block_id and i.block_position = coalesce(e.block_position, i.block_position)",
        )
        assert {row["uid"]: row["element"] for row in many} == {
            uid: header[tag] for uid, header in headers_of(database, files) if tag in header
        }
    wanted = {"FilterType": ["2.25.5"], "KVP": ["2.25.4"]}
    for found, expression in (
        ("FilterType", parse({"FilterType": {"missing": True}})),
        ("KVP", parse({"KVP": {"max": 55}})),
    ):
        statement = selected(expression, Level.INSTANCE)
        with database.transaction() as connection:
            uids = [next(iter(row.values())) for row in select(connection, statement.sql, statement.params)]
        assert uids == wanted[found]
    fill_up = promote(owner, "KVP", "tube_voltage", "real")
    list(fill(owner, fill_up))
    assert [row["v"] for row in rows(database, "select tube_voltage as v from instance order by sop_instance_uid")] == [
        70, 70, 70, 55, 70, 60, 70,
    ]  # fmt: skip


def test_a_header_that_the_database_refuses_does_not_spoil_the_template_of_its_kind(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.headers.building.TEMPLATES", templates := Templates())
    uid = "2.25.1"
    ds = data_set(StudyInstanceUID=f"{uid}.1", SeriesInstanceUID=f"{uid}.2", SOPInstanceUID=uid, PatientID="P")
    path = tmp_path / "one.dcm"
    path.write_bytes(encoded(ds))
    header = read_header(path)
    kind = kind_of({}, header, str(ds.SOPClassUID))
    texts = [text for _, text in header.texts()]
    # as if what two patients said alike were nothing that Postgres takes for JSON
    templates.remember(
        [Template.of(kind, [*(text for text in texts if not is_own(text)), '"00999999":{"vr":"\\ud800"}'])]
    )
    monkeypatch.setattr("sluice.headers.templates.WORTH", 1.0)
    (batch,) = receive(database, tmp_path, [(uid, encoded(ds))])
    summary = extract(database, tmp_path, batch, workers=0)
    assert (summary.indexed, summary.quarantined) == (1, 0)
    assert rows(database, "select from header_template") == []


def test_one_header_and_words_of_series(database: Database, tmp_path: Path) -> None:
    files = [(f"2.25.{n}", ct(f"2.25.{n}", SeriesDescription=f"part {n // 3}", EchoTime=str(n))) for n in range(1, 6)]
    (batch,) = receive(database, tmp_path, files)
    extract(database, tmp_path, batch)
    header = header_of(database, "2.25.4")
    assert header["00180081"] == {"vr": "DS", "Value": [4]}
    assert header["0008103E"]["Value"] == ["part 1"]
    found = elements_of_series(database, ["2.25.7.1", "1.2.3"], ["0008103E", "00080060", "00180081", "00189999"])
    assert found == {
        "2.25.7.1": {
            "0008103E": {"vr": "LO", "Value": ["part 0"]},
            "00080060": {"vr": "CS", "Value": ["CT"]},
            "00180081": {"vr": "DS", "Value": [1]},
        }
    }
    with pytest.raises(NoHeaderError, match="sluice missing --instance 9"):
        header_of(database, "9")


def test_any_element_can_be_asked_for_in_sql(database: Database, tmp_path: Path) -> None:
    def file(number: int) -> tuple[str, bytes]:
        own = {"EchoTime": str(number)} if number != 2 else {}
        series = f"2.25.7.{number // 4}"
        return f"2.25.{number}", ct(f"2.25.{number}", SeriesInstanceUID=series, RepetitionTime="550", **own)

    (batch,) = receive(database, tmp_path, [file(number) for number in range(1, 8)])
    extract(database, tmp_path, batch)
    one = "select header_element(block_id, block_position, '{tag}') as element from instance order by sop_instance_uid"
    many = """
        select i.sop_instance_uid, e.element
          from header_elements('{tag}', array(select block_id from header_block)) e
          join instance i on i.block_id = e.block_id and i.block_position = coalesce(e.block_position, i.block_position)
         order by 1
    """
    headers = [header for _, header in sorted(headers_of(database, [f"2.25.{n}" for n in range(1, 8)]))]
    for tag, present in (("00180080", 7), ("00180081", 6), ("00080018", 7), ("00189999", 0)):
        wanted = [header.get(tag) for header in headers]
        assert sum(element is not None for element in wanted) == present
        assert [row["element"] for row in rows(database, one.format(tag=tag))] == wanted
        found = [row["element"] for row in rows(database, many.format(tag=tag))]
        assert found == [element for element in wanted if element is not None]


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_file_made_of_kept_bytes_reads_as_the_original_did(database: Database, tmp_path: Path, syntax: str) -> None:
    ds = data_set(syntax, PatientName="A^B", SeriesInstanceUID="2.25.3", EncapsulatedDocument=b"x" * 100_000)
    ds.PixelData = b"\7" * 90_000
    if syntax == JPEG2000Lossless:
        ds.PixelData = encapsulate([b"\1" * 70_000, b"\2" * 3_000])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", syntax == JPEG2000Lossless
    ds.DataSetTrailingPadding = b"\0" * 40
    data = b"not only zeros".ljust(128) + encoded(ds)[128:]
    archive = tmp_path / "archive"
    archive.mkdir()
    (batch,) = receive(database, archive, [("2.25.1", data)])
    extract(database, archive, batch)
    kept = original_bytes(database, "2.25.1")
    assert len(kept.data) < 2_000
    kept.write(tmp_path / "again.dcm")
    again = (tmp_path / "again.dcm").read_bytes()
    assert again[:128] == data[:128]
    if syntax != DeflatedExplicitVRLittleEndian:
        assert len(again) == len(data)
        read = pydicom.dcmread(tmp_path / "again.dcm")
        assert (read.PatientName, read.DataSetTrailingPadding) == ("A^B", b"\0" * 40)
        assert again[-48:] == data[-48:]
    assert json.loads(read_kept(kept).json) == header_of(database, "2.25.1")


def test_a_header_that_is_too_long_to_be_kept_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.headers.parser.KEPT_LIMIT", 1 << 20)
    item = Dataset()
    item.TextValue = "x" * 60_000
    files = [
        ("2.25.1", encoded(data_set(SeriesInstanceUID="2.25.3", ContentSequence=Sequence([item] * 20)))),
        ("2.25.2", encoded(data_set(SeriesInstanceUID="2.25.3", ContentSequence=Sequence([item] * 10)))),
    ]
    (batch,) = receive(database, tmp_path, files)
    assert (extract(database, tmp_path, batch).indexed, len(rows(database, "select from quarantine"))) == (1, 1)
    assert len(header_of(database, "2.25.2")["0040A730"]["Value"]) == 10
