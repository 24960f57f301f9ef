"""The migration on a database that has rows already."""

from __future__ import annotations

import uuid

import psycopg2

from sluice.database import SQL, Database, select
from sluice.stack.postgres import EmbeddedPostgres
from tests.cohorts.small import ROOT

ROWS = """
insert into study (study_instance_uid, patient_id) values ('{0}.1', 'P');
insert into series (series_instance_uid, study_instance_uid, modality) values ('{0}.1.1', '{0}.1', 'DX');
insert into header_anatomy (series_instance_uid, region_key, confidence) values ('{0}.1.1', 'CHEST', 1);
insert into header_block (series_instance_uid, study_instance_uid, instances, file_bytes, sop_class_uid,
                          transfer_syntax_uid, shared, content)
values ('{0}.1.1', '{0}.1', 2, 10, '1.2', '1.2', '{{}}', '');
insert into instance (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, transfer_syntax_uid,
                      block_id, block_position)
values ('{0}.1.1.1', '{0}.1.1', '{0}.1', '1.2', '1.2', 1, 0),
       ('{0}.1.1.2', '{0}.1.1', '{0}.1', '1.2', '1.2', null, null);
insert into model (model_id, task, architecture, weights_sha256, card) values ('m', 'body_part', '', '', '{{}}');
insert into prediction (sop_instance_uid, model_id, task, label, score, detail)
values ('{0}.1.1.1', 'm', 'body_part', 'x', 1, '{{}}'), ('{0}.1.1.2', 'm', 'body_part', 'x', 1, '{{}}');
insert into quality_finding (window_key, rule, severity, level, sop_instance_uid)
values ('d', 'r', 'stop', 'instance', '{0}.1.1.2');
insert into sweep_window (window_key, kind, starts_on, ends_on) values ('d', 'day', now(), now());
insert into found_study (pacs, study_instance_uid, window_key, answer)
values ('main', '{0}.1', 'd', '{{"00201208": {{"vr": "IS", "Value": ["7"]}}}}')
"""


def test_rows_that_were_there_get_keys_and_places(postgres: EmbeddedPostgres) -> None:
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = psycopg2.connect(postgres.url("postgres"))
    admin.autocommit = True
    admin.cursor().execute(f"create database {name}")
    try:
        database = Database(postgres.url(name))
        files = sorted((SQL / "migrations").glob("*.sql"))
        with database.transaction() as connection, connection.cursor() as cursor:
            for path in files:
                if path.name < "0016":
                    cursor.execute(path.read_text(encoding="utf-8"))
            cursor.execute(ROWS.format(ROOT))
        with database.transaction() as connection, connection.cursor() as cursor:
            for path in files:
                if path.name >= "0016":
                    cursor.execute(path.read_text(encoding="utf-8"))
        # an instance that was indexed before blocks were gets its block
        database.execute(
            "update instance set block_id = 1, block_position = 1 where sop_instance_uid = %s", (f"{ROOT}.1.1.2",)
        )
        with database.transaction() as connection:
            (keys,) = select(
                connection,
                "select b.study_key = st.study_key and b.series_key = s.series_key "
                "and a.series_key = s.series_key as same "
                "from header_block b, study st, series s, header_anatomy a",
            )
            places = select(
                connection,
                "select block_id, block_position from prediction union all select block_id, block_position "
                "from quality_finding order by block_position",
            )
            (listed,) = select(connection, "select listed from found_study")
            narrow = select(
                connection, "select b.region_key, b.modality, b.patient_key = patient_key('P', null) as patient, "
                "b.study_key = st.study_key as study, b.frames from cohort_block b, study st"
            )  # fmt: skip
        assert keys["same"]
        assert [tuple(row.values()) for row in narrow] == [("CHEST", "DX", True, True, 1)]
        assert [(row["block_id"], row["block_position"]) for row in places] == [(1, 0), (1, 1), (1, 1)]
        assert listed["listed"] == 7
    finally:
        admin.cursor().execute(f"drop database {name} with (force)")
        admin.close()
