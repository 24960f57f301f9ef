"""What is held because of findings and decisions, and that asking costs what is held and not what there is."""

from __future__ import annotations

from typing import Any

import psycopg2.errors
import pytest

from sluice.database import Database, select
from sluice.quality.decisions import DecisionError, decide
from tests.ledger_rows import LedgerRows


def hold(database: Database) -> set[tuple[str, str, str]]:
    with database.transaction() as connection:
        rows = select(connection, "select sop_instance_uid, rule, severity from quality_hold")
    assert len(rows) == len({tuple(row.values()) for row in rows}), "a hold stands twice"
    return {(row["sop_instance_uid"], row["rule"], row["severity"]) for row in rows}


def finding(rows: LedgerRows, level: str, severity: str, rule: str = "a-rule", **uids: Any) -> None:
    rows.put(
        "quality_finding", {"window_key": rows.window.key, "rule": rule, "severity": severity, "level": level, **uids}
    )


def test_a_finding_holds_what_its_level_says_until_it_is_accepted(database: Database) -> None:
    rows = LedgerRows(database)
    study, series, (first, second, third) = rows.healthy_study(1)
    _, _, others = rows.healthy_study(2)
    uids = {"study_instance_uid": study, "series_instance_uid": series}
    finding(rows, "instance", "warn", sop_instance_uid=first, **uids)
    finding(rows, "scanner", "warn", scanner="CT1")
    assert hold(database) == set()
    finding(rows, "instance", "quarantine", sop_instance_uid=second, **uids)
    assert hold(database) == {(second, "a-rule", "quarantine")}
    finding(rows, "series", "stop", rule="other", **uids)
    assert {uid for uid, rule, _ in hold(database) if rule == "other"} == {first, second, third}
    decide(database, "other", "series", series, "accept", "looked at it", "vera")
    assert hold(database) == {(second, "a-rule", "quarantine")}
    decide(database, "a-rule", "instance", second, "accept", "fine", "vera")
    assert hold(database) == set()
    decide(database, "a-rule", "instance", first, "keep-out", "wrong patient after all", "otto")
    decide(database, "a-rule", "instance", second, "keep-out", "not fine", "otto")
    assert hold(database) == {(first, "a-rule", "quarantine"), (second, "a-rule", "quarantine")}
    database.execute("delete from quality_finding")
    assert hold(database) == {(first, "a-rule", "quarantine"), (second, "a-rule", "quarantine")}
    decide(database, "a-rule", "instance", first, "accept", "replaced", "otto")
    assert {uid for uid, *_ in hold(database)} == {second}

    finding(rows, "window", "stop", rule="halting")
    assert not {uid for uid, rule, _ in hold(database) if rule == "halting"}, "only a rule that halts holds the window"
    finding(rows, "window", "stop", rule="halting", halts=True)
    assert {uid for uid, rule, _ in hold(database) if rule == "halting"} == {first, second, third, *others}
    decide(database, "halting", "window", rows.window.key, "accept", "the PACS was down", "vera")
    assert {rule for _, rule, _ in hold(database)} == {"a-rule"}


def test_decisions_are_appended_and_need_a_finding_and_a_reason(database: Database, owner: Database) -> None:
    rows = LedgerRows(database)
    _, series, (first, *_) = rows.healthy_study(1)
    with pytest.raises(DecisionError, match="no finding of a-rule for this instance"):
        decide(database, "a-rule", "instance", first, "accept", "looked at it", "vera")
    finding(rows, "instance", "stop", sop_instance_uid=first, series_instance_uid=series)
    for reason in ("", " a \n", "x" * 501):
        with pytest.raises(DecisionError, match="3 to 500"):
            decide(database, "a-rule", "instance", first, "accept", reason, "vera")
    assert decide(database, "a-rule", "instance", first, "accept", "looked  at it", "vera").reason == "looked at it"
    for statement in ("update quality_decision set reason = 'other'", "delete from quality_decision",
                      "truncate quality_decision"):  # fmt: skip
        with pytest.raises(psycopg2.errors.RaiseException, match="never changed"):
            owner.execute(statement)


def test_what_is_held_is_asked_from_the_findings_outwards(database: Database) -> None:
    rows = LedgerRows(database)
    study, series, (first, *_) = rows.healthy_study(1)
    rows.study(2, study_instance_uid="1.2")
    database.execute(
        "insert into series (series_instance_uid, study_instance_uid) "
        "select '1.2.3.' || n, '1.2' from generate_series(0, 400) n"
    )
    database.execute(
        "insert into instance select (jsonb_populate_record(i, jsonb_build_object('sop_instance_uid', '1.2.' || n, "
        "'series_instance_uid', '1.2.3.' || n / 50, 'study_instance_uid', '1.2.' || n / 50))).* "
        "from instance i, generate_series(1, 20000) n where i.sop_instance_uid = %s",
        (first,),
    )
    finding(rows, "instance", "stop", sop_instance_uid=first)
    finding(rows, "series", "quarantine", series_instance_uid=series)
    finding(rows, "study", "stop", study_instance_uid=study)
    database.execute(
        "insert into quality_finding (window_key, rule, severity, level, sop_instance_uid) "
        "select 'w', 'r', 'warn', 'instance', '1.2.' || n from generate_series(1, 20000) n"
    )
    connection = database.connect()
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("vacuum analyze instance, quality_finding, quality_decision")
        for asked in ("", f" where sop_instance_uid = '{first}'"):
            cursor.execute(f"explain select * from quality_hold{asked}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan on instance" not in plan, plan
            assert "Seq Scan on quality_finding" not in plan, plan
    connection.close()
    assert len(hold(database)) == 3 + 3
