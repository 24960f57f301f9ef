from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pydicom
import pytest

from sluice.database import Database, select
from sluice.headers.blocks import NoHeaderError, elements_of_series, header_of, headers_of, original_bytes
from sluice.headers.extract import extract
from sluice.headers.reading import read_header, read_kept
from tests.headers.archive import receive
from tests.headers.reference import differences
from tests.headers.test_extract import ct, dicom_files


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
