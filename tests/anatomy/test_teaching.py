"""People teach words: what a mapping changes, when it holds, and that it reaches every series."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sluice.anatomy import Evidence
from sluice.anatomy.rederive import apply_pending, rederive_all
from sluice.anatomy.store import WRITING, load_mappings, write_anatomy
from sluice.anatomy.teaching import Effect, Lesson, TeachingError, rehearse, teach, withdraw
from sluice.canonical.index import Geometry, MadePicture, keep
from sluice.canonical.shards import ShardWriter
from sluice.database import Database, select

SERIES, STUDY, MODALITY, STATION = 0x0008103E, 0x00081030, 0x00080060, 0x00081010


def elements(modality: str = "DX", station: str = "DX1", **texts: str) -> dict[int, dict[str, Any]]:
    values = {MODALITY: modality, STATION: station}
    values |= {{"series": SERIES, "study": STUDY, "part": 0x00180015}[name]: text for name, text in texts.items()}
    return {tag: {"vr": "LO", "Value": [value]} for tag, value in values.items()}


def add(database: Database, uids: list[str], header: dict[int, dict[str, Any]]) -> None:
    """Series as extraction writes them."""
    evidence = Evidence.of(header)
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("insert into study (study_instance_uid) values ('1') on conflict do nothing")
        for uid in uids:
            cursor.execute(
                "insert into series (series_instance_uid, study_instance_uid, modality, station_name) "
                "values (%s, '1', %s, %s)",
                (uid, evidence.modality, evidence.station_name),
            )
        mappings = load_mappings(connection)
        write_anatomy(connection, [(uid, evidence, evidence.derived(mappings)) for uid in uids], mappings)


def rows(database: Database, statement: str, params: Any = None) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return select(connection, statement, params)


def regions(database: Database) -> dict[str, str | None]:
    found = rows(database, "select series_instance_uid, region_key from header_anatomy order by 1")
    return {row["series_instance_uid"]: row["region_key"] for row in found}


def pile(database: Database, kind: str = "region") -> dict[str, int]:
    found = rows(
        database, "select said, sum(series)::int as n from anatomy_pile where kind = %s group by said", (kind,)
    )
    return {row["said"]: row["n"] for row in found}


def test_a_mapping_reaches_all_series_and_its_withdrawal_too(database: Database) -> None:
    add(database, ["1.1", "1.2", "1.3"], elements(series="Quengelgips"))
    add(database, ["1.4"], elements(series="Knie ap"))
    assert pile(database) == {"Quengelgips": 3}
    lesson = Lesson("region", "QUENGELGIPS", "ANKLE", laterality="L", view="AP", why="plaster room")
    assert rehearse(database, lesson) == Effect(3, 3)
    mapping_id, done = teach(database, lesson, "vera")
    assert (done.evidence, done.changed) == (1, 3)
    assert regions(database) == {"1.1": "ANKLE", "1.2": "ANKLE", "1.3": "ANKLE", "1.4": "KNEE"}
    (row,) = rows(database, "select * from header_anatomy where series_instance_uid = '1.2'")
    assert (row["laterality"], row["view"], row["mapping_id"], row["source_tag"]) == (
        "L",
        "AP",
        mapping_id,
        "(0008,103E)",
    )
    assert pile(database) == {}
    assert rehearse(database, lesson) == Effect(3, 0)
    assert teach(database, lesson, "otto")[0] == mapping_id, "the same again is no second mapping"
    assert withdraw(database, mapping_id, "otto").changed == 3
    assert (regions(database)["1.1"], pile(database)) == (None, {"Quengelgips": 3})
    with pytest.raises(TeachingError, match="withdrawn already"):
        withdraw(database, mapping_id, "otto")
    (kept,) = rows(database, "select added_by, withdrawn_by, why from anatomy_mapping")
    assert kept == {"added_by": "vera", "withdrawn_by": "otto", "why": "plaster room"}


def test_a_series_that_comes_later_is_read_with_the_mapping(database: Database) -> None:
    mapping_id, _ = teach(database, Lesson("region", "Quengelgips", "ANKLE"), "vera")
    add(database, ["1.1"], elements(series="quengel-gips"))
    add(database, ["1.2"], elements(series="Quengelgips"))
    assert regions(database) == {"1.1": None, "1.2": "ANKLE"}, "a mapping is of the whole text, in any spelling of case"
    (row,) = rows(database, "select mapping_id from header_anatomy where series_instance_uid = '1.2'")
    assert row["mapping_id"] == mapping_id


def test_the_newest_of_those_that_fit_holds(database: Database) -> None:
    add(database, ["1.1"], elements(series="Spez 7", station="A"))
    add(database, ["1.2"], elements(series="Spez 7", station="B"))
    teach(database, Lesson("region", "Spez 7", "KNEE"), "vera")
    teach(database, Lesson("region", "Spez 7", "HIP", station_name="B"), "vera")
    assert regions(database) == {"1.1": "KNEE", "1.2": "HIP"}
    newest, _ = teach(database, Lesson("region", "Spez 7", "FOOT"), "vera")
    assert regions(database) == {"1.1": "FOOT", "1.2": "FOOT"}
    withdraw(database, newest, "vera")
    assert regions(database) == {"1.1": "KNEE", "1.2": "HIP"}
    teach(database, Lesson("region", "Spez 7", None, source_tag="(0018,0015)"), "vera")
    assert regions(database)["1.1"] == "KNEE", "that element does not hold the text"


def test_a_text_that_says_nothing_lets_the_next_source_speak(database: Database) -> None:
    add(database, ["1.1"], elements(part="HAND", study="Becken Übersicht"))
    assert regions(database) == {"1.1": "HAND"}
    teach(database, Lesson("region", "Hand", None, source_tag="(0018,0015)", why="a default of this machine"), "vera")
    assert regions(database) == {"1.1": "PELVIS"}


def test_a_sequence_and_a_phase_are_taught_alike(database: Database) -> None:
    add(database, ["1.1", "1.2"], elements("MR", series="Zauber 3"))
    add(database, ["1.3"], elements("CT", series="Spirale 2"))
    assert pile(database, "mr_sequence") == {"Zauber 3": 2}
    assert pile(database, "ct_phase") == {"Spirale 2": 1}
    teach(database, Lesson("mr_sequence", "Zauber 3", "T1+C"), "vera")
    teach(database, Lesson("ct_phase", "spirale 2", "enhanced arterial"), "vera")
    found = rows(
        database,
        "select mr_sequence, mr_contrast, ct_phase, ct_phase_detail, phase_mapping_id is not null as taught "
        "from header_anatomy order by series_instance_uid",
    )
    mr = {"mr_sequence": "T1", "mr_contrast": True, "ct_phase": None, "ct_phase_detail": None, "taught": True}
    ct = {
        "mr_sequence": None,
        "mr_contrast": None,
        "ct_phase": "enhanced",
        "ct_phase_detail": "arterial",
        "taught": True,
    }
    assert found == [mr, mr, ct]
    assert pile(database, "mr_sequence") == pile(database, "ct_phase") == {}


def test_a_text_is_shown_with_what_stands_beside_it_and_pictures(database: Database, tmp_path: Path) -> None:
    add(database, ["1.1", "1.2"], elements(series="Quengelgips", study="Extern"))
    add(database, ["1.3"], elements(series="Quengelgips", part="KNEE"))
    database.execute(
        "insert into instance (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, "
        "transfer_syntax_uid) values ('1.1.1', '1.1', '1', '1', '1')"
    )
    film = MadePicture("1.1.1", np.zeros((512, 512), np.uint8), Geometry(1, 1, 0, 0, 1, 1), "window")
    with ShardWriter(database, tmp_path) as writer:
        keep(database, writer, 1, [film])
    asked = {"kind": "region", "key": "quengelgips", "source_tag": "(0008,103E)"}
    (text,) = database.rows("page_anatomy_text", asked)
    assert (text["series"], text["studies"], text["stations"], text["pictures"]) == (2, 1, ["DX1"], ["1.1.1"])
    assert ["Quengelgips", "Extern"] in [header["said"] for header in text["headers"]]
    (nothing,) = database.rows("page_anatomy_text", asked | {"source_tag": "(0018,0015)"})
    assert (nothing["series"], nothing["headers"]) == (0, None)


@pytest.mark.parametrize(
    ("lesson", "words"),
    [
        (Lesson("region", "Foo", "KNIE"), "is no region"),
        (Lesson("ct_phase", "Foo", "T1"), "is no ct_phase"),
        (Lesson("region", "---", "KNEE"), "letter or digit"),
        (Lesson("region", "Geheim^Person " * 30, "KNEE"), "200 characters"),
        (Lesson("region", "Foo", "KNEE", view="SIDEWAYS"), "A view is"),
    ],
)
def test_what_makes_no_sense_is_refused_without_repeating_the_text(
    database: Database, lesson: Lesson, words: str
) -> None:
    with pytest.raises(TeachingError, match=words) as refused:
        teach(database, lesson, "vera")
    assert "Geheim" not in str(refused.value)
    assert rows(database, "select from anatomy_mapping") == []


def test_an_application_that_was_cut_off_is_finished_by_the_next(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sluice.anatomy.rederive.EVIDENCE_AT_ONCE", 2)
    for number in range(6):
        add(database, [f"1.{number}"], elements(series="Quengelgips", station=f"S{number}"))

    def cut_off(done: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teach(database, Lesson("region", "Quengelgips", "ANKLE"), "vera", cut_off)
    assert sorted(map(str, regions(database).values())) == ["ANKLE"] * 2 + ["None"] * 4
    assert apply_pending(database).changed == 4
    assert set(regions(database).values()) == {"ANKLE"}
    assert apply_pending(database).evidence == 0


def test_a_mapping_that_is_added_during_an_extraction_reaches_its_series(database: Database) -> None:
    """The extraction loaded its mappings before; either it sees the new one, or the mapping waits for it."""
    evidence = Evidence.of(elements(series="Quengelgips"))
    with database.transaction() as connection:
        stale = load_mappings(connection)
    add(database, ["1.0"], elements(series="Knie"))
    teach(database, Lesson("region", "Quengelgips", "ANKLE"), "vera")
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("insert into series (series_instance_uid, study_instance_uid) values ('1.1', '1'), ('1.2', '1')")
        write_anatomy(connection, [("1.1", evidence, evidence.derived(stale))], stale)
        teacher = threading.Thread(
            target=teach, args=(database, Lesson("region", "Quengelgips", "TOE", station_name="DX1"), "otto")
        )
        teacher.start()
        waiting = "select count(*) as n from pg_locks where locktype = 'advisory' and objid = %s and not granted"
        while rows(database, waiting, (WRITING,))[0]["n"] == 0:
            assert teacher.is_alive(), "the teacher did not wait for the extraction"
        write_anatomy(connection, [("1.2", evidence, evidence.derived(stale))], stale)
    teacher.join(30)
    assert regions(database) == {"1.0": "KNEE", "1.1": "TOE", "1.2": "TOE"}


def test_series_of_before_get_their_evidence_from_stored_headers(database: Database) -> None:
    add(database, ["1.1"], elements("MR", series="Quengelgips"))
    database.execute(
        """
        with block as (
            insert into header_block (series_instance_uid, study_instance_uid, instances, file_bytes, sop_class_uid,
                                      transfer_syntax_uid, elements, content)
            values ('1.1', '1', 1, 1, '1', '1',
            '{"00080060": {"vr": "CS", "Value": ["MR"]}, "0008103E": {"vr": "LO", "Value": ["t2_tse_fs Knie"]}}',
                    '')
            returning block_id)
        insert into instance (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid,
                              transfer_syntax_uid, block_id, block_position)
        select '1.1.1', '1.1', '1', '1', '1', block_id, 0 from block
        """
    )
    database.execute("update header_anatomy set evidence = null, mr_sequence = null")
    done = rederive_all(database)
    assert (done.completed, done.changed) == (1, 1)
    (row,) = rows(database, "select region_key, mr_sequence, mr_fat_suppressed from header_anatomy")
    assert row == {"region_key": "KNEE", "mr_sequence": "T2", "mr_fat_suppressed": True}
    again = rederive_all(database)
    assert (again.completed, again.changed) == (0, 0)
