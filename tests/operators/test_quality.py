"""The task check_quality: green with findings, red where a rule holds the whole window, its links either way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sluice.quality.check import QualitySummary, WindowHalted

pytestmark = pytest.mark.airflow


class PretendTask:
    """Keeps what is pushed to XCom."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def summary(halted_by: list[str]) -> QualitySummary:
    return QualitySummary("2026-10-26", 9, 120, 1, 3, {"stop": 3}, 3, 3, halted_by, "v1", Path("index.html"), 1.0)


def run(monkeypatch: pytest.MonkeyPatch, halted_by: list[str]) -> tuple[PretendTask, Any]:
    from operators import connections, steps

    monkeypatch.setattr(connections, "database", lambda: None)
    monkeypatch.setattr("sluice.quality.check.check", lambda *_: summary(halted_by))
    task = PretendTask()
    try:
        return task, steps._check_quality("2026-10-26", task)
    except WindowHalted as halted:
        return task, halted


def test_stops_leave_the_run_green_and_are_counted(airflow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task, counts = run(monkeypatch, [])
    assert (counts["stops"], counts["halted_by"], task.pushed) == (3, [], {})


def test_a_rule_that_halts_fails_the_task_for_good_and_keeps_its_links(
    airflow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from operators.policies import is_permanent

    task, halted = run(monkeypatch, ["window-mostly-missing"])
    assert is_permanent(halted)
    assert "window-mostly-missing" in str(halted)
    assert task.pushed["return_value"]["window_key"] == "2026-10-26"
