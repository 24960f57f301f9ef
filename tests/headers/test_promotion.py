from __future__ import annotations

import io
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from sluice.__main__ import main
from sluice.database import Database
from sluice.headers import promotion
from sluice.headers.building import read_files
from sluice.headers.extract import extract
from sluice.headers.promotion import Promoted, PromotionError, fill, promote, promoted_columns
from sluice.headers.report import write_promotion
from sluice.stack.postgres import EmbeddedPostgres
from tests.conftest import temporary_database
from tests.headers.archive import receive
from tests.headers.test_extract import assert_consistent, ct, rows
from tests.headers.test_parser import data_set, encoded


def mr(number: int, **elements: Any) -> tuple[str, bytes]:
    return f"2.25.{number}", ct(f"2.25.{number}", SeriesInstanceUID=f"2.25.7.{number // 4}", Modality="MR", **elements)


@pytest.fixture
def database(postgres: EmbeddedPostgres) -> Iterator[Database]:
    """As its owner: who tasks and pages are may not add columns."""
    with temporary_database(postgres, as_owner=True) as fresh:
        yield fresh


def values(database: Database, name: str) -> list[Any]:
    found = rows(database, f'select {name} from instance order by sop_instance_uid collate "C"')
    return [row[name] for row in found]


def test_a_column_is_filled_from_stored_headers_and_by_later_extractions(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "BLOCKS", 1)
    files = [mr(n, EchoTime=str(n) if n != 3 else "", RepetitionTime="550") for n in range(1, 8)]
    (batch,) = receive(database, tmp_path, files)
    extract(database, tmp_path, batch)
    for path in tmp_path.iterdir():
        path.unlink()  # no file is looked at
    column = promote(database, "EchoTime", "echo_time", "real")
    steps = fill(database, column)
    next(steps)
    steps.close()  # ended in the middle
    assert 0 < len([value for value in values(database, "echo_time") if value]) < 6
    assert rows(database, "select filled_at from promoted_column") == [{"filled_at": None}]
    assert promote(database, "00180081", "echo_time", "real") == column
    write_promotion(database, "0018,0081", "echo_time", "real", io.StringIO())
    assert values(database, "echo_time") == [1, 2, None, 4, 5, 6, 7]
    write_promotion(database, "RepetitionTime", "repetition_time", "integer", io.StringIO())
    assert values(database, "repetition_time") == [550] * 7
    assert [item.name for item in promoted_columns(database)] == ["echo_time", "repetition_time"]
    uid, slow = mr(8, EchoTime="8888")
    (batch,) = receive(database, tmp_path, [mr(9, EchoTime="9.5"), (uid, slow.replace(b"8888", b"slow"))])
    extract(database, tmp_path, batch)
    assert values(database, "echo_time") == [1, 2, None, 4, 5, 6, 7, None, 9.5]
    assert_consistent(database)


def test_private_elements_and_those_in_sequences_and_every_type(database: Database, tmp_path: Path) -> None:
    def file(number: int, block: int, half_life: str) -> tuple[str, bytes]:
        ds = data_set(
            SpecificCharacterSet="ISO_IR 192",
            StudyInstanceUID="2.25.7",
            SeriesInstanceUID="2.25.7.1",
            SOPInstanceUID=f"2.25.{number}",
        )
        for other in range(block):
            ds.private_block(0x0029, f"OTHER {other}", create=True).add_new(0x10, "LO", "wrong")
        ds.private_block(0x0029, "ACME", create=True).add_new(0x10, "LO", f"right {number}")
        item = Dataset()
        item.RadionuclideHalfLife = half_life
        ds.RadiopharmaceuticalInformationSequence = Sequence([item])
        ds.AcquisitionDateTime = f"2026102610153{number}+0100"
        ds.ContentDate, ds.ContentTime, ds.OperatorsName = "20261026", f"10153{number}", "Kim^A=金^"
        return f"2.25.{number}", encoded(ds).replace(b"7777", b"x123")

    (batch,) = receive(database, tmp_path, [file(1, 0, "6586.2"), file(2, 2, "7777"), file(3, 1, "110")])
    extract(database, tmp_path, batch)
    asked = {
        "vendor_word": ('0029,"ACME",10', "text"),
        "half_life": ("00540016/00181075", "real"),
        "half_life_s": ("00540016/00181075", "integer"),
        "at": ("AcquisitionDateTime", "timestamp"),
        "on_day": ("ContentDate", "date"),
        "at_time": ("ContentTime", "time"),
        "operator_name": ("OperatorsName", "text"),
    }
    for name, (path, type_name) in asked.items():
        write_promotion(database, path, name, type_name, io.StringIO())
    before = rows(database, f"select {', '.join(asked)} from instance order by sop_instance_uid")
    assert [row["vendor_word"] for row in before] == ["right 1", "right 2", "right 3"]
    assert [row["half_life"] for row in before] == [6586.2, None, 110]
    assert [row["half_life_s"] for row in before] == [None, None, 110]
    assert [str(row["at"]) for row in before] == [f"2026-10-26 10:15:3{n}" for n in (1, 2, 3)]
    assert (str(before[0]["on_day"]), str(before[0]["at_time"])) == ("2026-10-26", "10:15:31")
    assert before[0]["operator_name"] == "Kim^A=金^"
    # extraction reads the same
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("delete from instance")
    extract(database, tmp_path, batch)
    assert rows(database, f"select {', '.join(asked)} from instance order by sop_instance_uid") == before


def test_a_column_promoted_while_files_are_read_is_not_missed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_while_somebody_promotes(*arguments: Any) -> Any:
        built = read_files(*arguments)
        promote(database, "EchoTime", "echo_time", "real")
        return built

    (batch,) = receive(database, tmp_path, [mr(1, EchoTime="5")])
    monkeypatch.setattr("sluice.headers.extract.read_files", read_while_somebody_promotes)
    assert extract(database, tmp_path, batch, workers=0).indexed == 1
    assert values(database, "echo_time") == [5]


def test_what_cannot_be_a_column_is_refused(
    database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(database, "EchoTime", "echo_time", "real")
    for name, path, type_name in (
        ("Echo", "EchoTime", "real"),
        ("rows", "EchoTime", "real"),
        ("modality", "EchoTime", "real"),
        ("echo_time", "EchoTime", "text"),
        ("x; drop table instance", "EchoTime", "text"),
        ("fine", "EchoTime", "jsonb"),
        *((word, "EchoTime", "real") for word in ("not", "tag", "instances", "min", "is", "has", "age", "station")),
    ):
        with pytest.raises(PromotionError):
            promote(database, path, name, type_name)
    assert promoted_columns(database) == [Promoted("echo_time", "0018,0081", "real")]
    monkeypatch.setenv("SLUICE_DATABASE_URL", database.url)
    from sluice.settings import settings

    settings.cache_clear()
    try:
        assert main(["headers", "promoted"]) == 0
        assert "not filled to the end" in capsys.readouterr().out
        assert main(["headers", "promote", "EchoTim", "--as", "x"]) == 2
        assert main(["headers", "promote", "EchoTime"]) == 2
        assert main(["headers", "promote", "EchoTime", "--as", "rows"]) == 1
        assert main(["headers", "promote", "0018,0081", "--as", "echo_time", "--type", "real"]) == 0
        assert "0 instances filled now" in capsys.readouterr().out
    finally:
        settings.cache_clear()


def test_a_second_promotion_while_the_first_is_filled_waits_for_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (batch,) = receive(database, tmp_path, [mr(1, EchoTime="1", RepetitionTime="550")])
    extract(database, tmp_path, batch)
    column = promote(database, "EchoTime", "echo_time", "real")
    update = promotion._update
    others: list[Future[Promoted]] = []

    def meanwhile(*given: Any) -> int:
        changed = update(*given)
        others.append(pool.submit(promote, database, "RepetitionTime", "repetition_time", "integer"))
        deadline = time.monotonic() + 20
        while not rows(database, "select pid from pg_locks where not granted"):
            assert time.monotonic() < deadline, "nobody waits"
            time.sleep(0.02)
        return changed

    monkeypatch.setattr(promotion, "_update", meanwhile)
    with ThreadPoolExecutor(1) as pool:
        list(fill(database, column))
        assert others[0].result().name == "repetition_time"
    assert values(database, "echo_time") == [1]
