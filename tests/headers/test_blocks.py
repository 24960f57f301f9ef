from __future__ import annotations

import json
import random
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest

from sluice.database import Database, select
from sluice.headers.blocks import NoHeaderError, elements_of_series, header_of, headers_of, original_bytes
from sluice.headers.dictionaries import Dictionaries
from sluice.headers.extract import extract
from sluice.headers.reading import read_header, read_kept
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
