from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from sluice.__main__ import main
from sluice.database import Database
from sluice.headers.blocks import header_of
from sluice.headers.extract import extract
from sluice.settings import settings
from tests.headers.archive import receive
from tests.headers.test_parser import data_set, encoded


@pytest.fixture
def indexed(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Database, bytes]:
    ds = data_set(SpecificCharacterSet="ISO_IR 192", SeriesInstanceUID="2.25.3", PatientName="Kim^A=金^=")
    item = Dataset()
    item.CodeMeaning = "Näheres"
    ds.ProcedureCodeSequence = Sequence([item])
    ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", b"ab\0c")
    ds.ImageComments = "line one\r\nline two " + "x" * 200
    ds.PixelData = b"\7" * 100_000
    ds["PixelData"].VR = "OW"
    data = encoded(ds)
    archive = tmp_path / "archive"
    archive.mkdir()
    (batch,) = receive(database, archive, [("2.25.1", data)])
    extract(database, archive, batch)
    monkeypatch.setenv("SLUICE_DATABASE_URL", database.url)
    settings.cache_clear()
    return database, data


def test_a_header_is_printed_as_json_and_as_a_listing(
    indexed: tuple[Database, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["header", "2.25.1"]) == 0
    assert json.loads(capsys.readouterr().out) == header_of(indexed[0], "2.25.1")
    assert main(["header", "2.25.1", "--dump"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "(0010,0010) PN PatientName: Kim^A=金^" in lines
    assert "(0008,1032) SQ ProcedureCodeSequence: 1 item" in lines
    assert "    (0008,0104) LO CodeMeaning: Näheres" in lines
    assert "(0029,1010) OB [SIEMENS CSA HEADER] CSA Image Header Info: base64 YWIAYw==" in lines
    assert "(7FE0,0010) OW PixelData: left out, 100000 bytes" in lines
    (comment,) = (line for line in lines if "ImageComments" in line)
    assert "line one  line two" in comment
    assert comment.endswith("(219 characters)")


def test_its_bytes_are_a_file_that_dicom_programs_read(
    indexed: tuple[Database, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "again.dcm"
    assert main(["header", "2.25.1", "--bytes", str(path)]) == 0
    assert "100,000 bytes of pixels" in capsys.readouterr().out
    written, data = path.read_bytes(), indexed[1]
    assert written == data.replace(b"\7" * 100_000, bytes(100_000))
    assert str(pydicom.dcmread(path).PatientName) == "Kim^A=金^"


def test_what_is_not_there_is_one_line_and_an_exit_code(
    indexed: tuple[Database, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["header", "2.25.99"]) == 1
    assert "sluice missing --instance 2.25.99" in capsys.readouterr().err
    assert main(["header", "2.25.1", "--bytes", "/no/such/folder/a.dcm"]) == 1
    assert "/no/such/folder/a.dcm" in capsys.readouterr().err
