"""Some days of findings as checks leave them, for tests of what is shown of them."""

from __future__ import annotations

from datetime import date, timedelta

from sluice.database import Database
from sluice.windows import Window
from tests.ledger_rows import DAY, LedgerRows

FIRST = DAY - timedelta(6)
RULES = {
    "pixels-of-another-patient": ("duplicates.yaml", "instance", "stop"),
    "rows-missing": ("completeness.yaml", "instance", "quarantine"),
    "laterality-unknown": ("vocabulary.yaml", "series", "warn"),
}


def write_trend(database: Database) -> None:
    """Seven days of two scanners: sides unknown every day, rows missing on the last three, one twin on the last."""
    for rule, (suite, level, severity) in RULES.items():
        database.execute(
            "insert into quality_rule (rule, suite, level, severity, halts, why, advice, suite_version) "
            "values (%s, %s, %s, %s, false, 'Something is wrong with it.', 'Repair it.', 'v1')",
            (rule, suite, level, severity),
        )
    for number in range(7):
        _day(database, FIRST + timedelta(number), number)
    database.execute(
        "insert into quality_trend (window_key, scanner, rule, day, severity, findings) "
        "select f.window_key, f.scanner, f.rule, w.starts_on, max(f.severity), count(*) "
        "from quality_finding f join sweep_window w using (window_key) group by 1, 2, 3, 4"
    )


def _day(database: Database, day: date, number: int) -> None:
    rows = LedgerRows(database, Window.of_day(day))
    for scanner, images in (("CT1", 60), ("DX1", 40)):
        rows.put(
            "quality_objects",
            {"window_key": rows.window.key, "scanner": scanner, "level": "instance", "day": day, "objects": images},
        )
        for count in range(3 + number):
            _finding(rows, "laterality-unknown", scanner, f"1.{number}.{scanner[:1] == 'C':d}.{count}")
    if number >= 4:
        for count in range(60):
            _finding(rows, "rows-missing", "CT1", f"1.{number}.5.{count}")
    if number == 6:
        _finding(rows, "pixels-of-another-patient", "DX1", "1.6.7.1")
    rows.connection.close()


def _finding(rows: LedgerRows, rule: str, scanner: str, uid: str) -> None:
    _, level, severity = RULES[rule]
    rows.put(
        "quality_finding",
        {
            "window_key": rows.window.key,
            "rule": rule,
            "severity": severity,
            "level": level,
            "study_instance_uid": f"{uid}.1",
            "series_instance_uid": uid if level == "series" else f"{uid}.2",
            "sop_instance_uid": uid if level == "instance" else None,
            "scanner": scanner,
            "observed": "=seen",
        },
    )
