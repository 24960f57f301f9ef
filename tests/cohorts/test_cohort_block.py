"""The narrow rows that filters read follow what they are made of, whoever writes."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, select
from tests.cohorts.small import ROOT, SmallHospital


def different(connection: Connection) -> list[int]:
    """Blocks whose narrow row is not as it has to be."""
    columns = [
        row["column_name"]
        for row in select(
            connection,
            "select column_name from information_schema.columns where table_name = 'cohort_block_made' "
            "order by ordinal_position",
        )
    ]
    there = f"select {', '.join(columns)} from cohort_block"
    made = "select * from cohort_block_made"
    return [row["block_id"] for row in select(connection, f"({made} except {there}) union all ({there} except {made})")]


CHANGES = {
    "a word is taught": "update header_anatomy set region_key = 'HAND', sct_code = '85562004', laterality = 'L', "
    "view = 'PA', mr_sequence = 'T1', mr_contrast = true, mr_fat_suppressed = false, ct_phase = 'plain'",
    "anatomy is taken away": "delete from header_anatomy where region_key = 'CHEST'",
    "two patients become one": "update study set patient_id = 'PAT-1', patient_id_issuer = 'LAB', patient_sex = 'O', "
    "study_date = '2001-01-01', study_description = 'x', institution_name = 'y' where patient_id = 'PAT-2'",
    "a scanner gets its name": "update series set station_name = 'CT9', modality = 'PT', series_number = 9, "
    "series_date = '2001-01-01', device_serial_number = 'z', series_description = 'a', manufacturer = 'b', "
    "model_name = 'c', body_part_examined = 'd', protocol_name = 'e', software_versions = 'f' "
    "where station_name = 'ct2'",
}


@pytest.mark.parametrize("change", CHANGES)
def test_rows_follow_what_stands_above_the_blocks(database: Database, change: str) -> None:
    SmallHospital(database)
    with database.transaction() as connection, connection.cursor() as cursor:
        assert different(connection) == []
        (there,) = select(connection, "select count(*) as count from cohort_block")
        assert there["count"] > 20
        before = select(connection, "select * from cohort_block")
        cursor.execute(CHANGES[change])
        assert different(connection) == []
        assert select(connection, "select * from cohort_block") != before


def test_a_block_that_goes_takes_its_row_with_it(database: Database) -> None:
    SmallHospital(database)
    with database.transaction() as connection, connection.cursor() as cursor:
        for table in ("quality_finding", "prediction", "instance"):
            cursor.execute(f"update {table} set block_id = null, block_position = null where block_id = 1")
        cursor.execute("delete from header_block where block_id = 1")
        assert select(connection, "select from cohort_block where block_id = 1") == []
        assert different(connection) == []


def test_anatomy_of_a_block_that_is_just_written_is_not_missed(database: Database) -> None:
    """A word is taught while an extraction that began before has not committed yet."""
    SmallHospital(database)
    done = threading.Event()

    def teach() -> None:
        database.execute("update header_anatomy set region_key = 'HAND'")
        done.set()

    teacher = threading.Thread(target=teach)
    with database.transaction() as writing:
        row: dict[str, Any] = select(writing, "select series_instance_uid from series order by 1 limit 1")[0]
        with writing.cursor() as cursor:
            cursor.execute(
                "insert into header_block (series_instance_uid, study_instance_uid, instances, file_bytes, "
                "sop_class_uid, transfer_syntax_uid, elements, content) values (%s, %s, 1, 1, '1.2', '1.2', '{}', '')",
                (row["series_instance_uid"], f"{ROOT}.1"),
            )
        teacher.start()
        assert not done.wait(0.3)
    teacher.join(10)
    assert done.is_set()
    with database.transaction() as connection:
        assert different(connection) == []
        assert select(connection, "select from cohort_block where region_key is distinct from 'HAND'") == []


def test_patients_are_told_apart_by_their_issuer(database: Database) -> None:
    with database.transaction() as connection:
        (row,) = select(
            connection,
            "select patient_key('P', null) = patient_key('P', '') as same, "
            "patient_key('P', 'A') <> patient_key('P', 'B') as other, patient_key(null, 'A') is null as nobody",
        )
    assert all(row.values())
