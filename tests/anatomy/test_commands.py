"""`sluice anatomy …` at a terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.__main__ import main
from sluice.database import Database
from tests.anatomy.test_teaching import add, elements, regions, rows


@pytest.fixture(autouse=True)
def _named(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_DATABASE_URL", database.url)
    from sluice.settings import settings

    settings.cache_clear()


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["anatomy", *arguments]) == code
    read = capsys.readouterr()
    return read.err if code else read.out


def test_what_waits_is_taught_and_taken_back(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    add(database, ["1.1", "1.2"], elements(series="Quengelgips, links"))
    add(database, ["1.3"], elements("CR", series="Zaubergips"))
    assert said(capsys, "unmapped").splitlines() == [
        "series,said,source_tag,modalities,scanners,last_seen",
        '2,"Quengelgips, links","(0008,103E)",DX,1,',
        '1,Zaubergips,"(0008,103E)",CR,1,',
    ]
    assert len(said(capsys, "unmapped", "--modality", "CR").splitlines()) == 2
    assert "2 series hold this text, 2 would change" in said(capsys, "map", "quengelgips links", "ANKLE", "--dry-run")
    assert regions(database)["1.1"] is None
    assert "Mapping 1. 2 series changed" in said(capsys, "map", "quengelgips links", "ANKLE", "--why", "plaster")
    assert regions(database) == {"1.1": "ANKLE", "1.2": "ANKLE", "1.3": None}
    said(capsys, "map", "Zaubergips", "nothing")
    assert len(said(capsys, "unmapped").splitlines()) == 1
    assert "2 series changed" in said(capsys, "withdraw", "1")
    assert "no region" in said(capsys, "map", "Zaubergips", "ANKEL", code=1)


def test_lists_go_from_one_hospital_to_the_next(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "map", "Quengelgips", "ANKLE", "--side", "L", "--language", "de", "--station", "GIPS,1")
    said(capsys, "map", "+KM spez", "T1+C", "--kind", "mr_sequence")
    said(capsys, "map", "Übersicht", "nothing", "--language", "de")
    list_of_all, list_of_german = tmp_path / "all.csv", tmp_path / "de.csv"
    exported = said(capsys, "export")
    assert "mr_sequence,'+KM spez,T1+C" in exported, "a spreadsheet program would take it for a formula"
    list_of_all.write_text(exported, encoding="utf-8-sig")  # as a spreadsheet saves it
    list_of_german.write_text(said(capsys, "export", "--language", "de"), encoding="utf-8")
    assert len(list_of_german.read_text(encoding="utf-8").splitlines()) == 3
    assert "0 of 3 mappings are new" in said(capsys, "import", str(list_of_all))
    before = rows(database, "select kind, key, said, value, laterality, station_name, language from anatomy_mapping")
    database.execute("delete from anatomy_mapping")
    add(database, ["1.1"], elements(series="Quengelgips", station="GIPS,1"))
    assert "3 of 3 mappings are new. 1 series changed" in said(capsys, "import", str(list_of_all))
    again = rows(database, "select kind, key, said, value, laterality, station_name, language from anatomy_mapping")
    assert again == before


def test_a_list_with_a_mistake_is_not_taken_at_all(
    database: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("kind,said,value\nregion,Gips,ANKLE\nregion,Geheim^Person,KNIE\n", encoding="utf-8")
    words = said(capsys, "import", str(wrong), code=1)
    assert "wrong.csv, line 3: 'KNIE' is no region" in words
    assert "Geheim" not in words
    wrong.write_text("a;b\n1;2\n", encoding="utf-8")
    assert "has no column kind, said, value" in said(capsys, "import", str(wrong), code=1)
    assert rows(database, "select from anatomy_mapping") == []


def test_what_was_cut_off_is_applied_by_hand(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    add(database, ["1.1"], elements(series="Quengelgips"))
    database.execute(
        "insert into anatomy_mapping (kind, key, said, value, added_by) "
        "values ('region', 'quengelgips', 'x', 'ANKLE', 'v')"
    )
    assert "1 series changed" in said(capsys, "rederive")
    assert "0 series changed" in said(capsys, "rederive")
    database.execute("update header_anatomy set region_key = null")
    assert "1 series changed" in said(capsys, "rederive", "--all")
