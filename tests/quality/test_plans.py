"""A check touches the rows of its window: no query of it reads the whole of `instance` or `receipt`."""

from __future__ import annotations

from sluice.database import Database, named_query
from sluice.quality.frames import DAMAGED
from tests.ledger_rows import DAY, LedgerRows

QUERIES = ("quality_window", "quality_instance", "quality_series", "quality_study", "quality_duplicates")
MANY = """
insert into {table} overriding user value
select (jsonb_populate_record(r, jsonb_build_object('sop_instance_uid', '1.2.' || n, 'study_date', '2020-01-01',
        'series_instance_uid', (select max(series_instance_uid) from series),
        'study_instance_uid', '1.2.' || n / 50))).*
  from {table} r, generate_series(1, 3000) n where r.sop_instance_uid = %s
"""


def test_no_query_of_a_check_reads_all_instances(database: Database) -> None:
    rows = LedgerRows(database)
    _, _, (first, *_) = rows.healthy_study(1)
    rows.series(rows.study(2))
    for table in ("instance", "receipt"):
        database.execute(MANY.format(table=table), (first,))
    connection = database.connect()
    asked = {"window_key": DAY.isoformat(), "time_zone": "Europe/Berlin", "damaged": DAMAGED, "most": 10}
    with connection, connection.cursor() as cursor:
        cursor.execute("analyze")
        cursor.execute(named_query("quality_members"), asked)
        for name in QUERIES:
            cursor.execute(f"explain {named_query(name)}", asked)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            for table in ("instance", "receipt"):
                assert f"Seq Scan on {table}" not in plan, f"{name}:\n{plan}"
            assert "quality_member" in plan or "ledger_of_window" in plan
    connection.close()
