"""Drift by station, with guards against small numbers."""

from __future__ import annotations

import json
import math
from datetime import date, timedelta

import pytest

from sluice.__main__ import main
from sluice.annotation.answers import AnnotationError
from sluice.annotation.drift import drift, stability_index
from sluice.database import Database
from sluice.settings import settings
from tests.annotation.films import Films

UNTIL = date(2026, 10, 26)


def fill(films: Films, station: str, day: date, **labels: int) -> None:
    """Films of a station on a day, copied from one that the usual way wrote."""
    for label, count in labels.items():
        first = films.film(label, sure=0.8, station=station, day=day, has_picture=False)
        films.database.execute(
            "insert into instance (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, "
            "transfer_syntax_uid) select i.sop_instance_uid || '.' || n, i.series_instance_uid, "
            "i.study_instance_uid, i.sop_class_uid, i.transfer_syntax_uid from instance i, generate_series(2, %(n)s) n "
            "where i.sop_instance_uid = %(uid)s",
            {"n": count, "uid": first},
        )
        films.database.execute(
            "insert into prediction (sop_instance_uid, model_id, task, label, score, detail) "
            "select p.sop_instance_uid || '.' || n, p.model_id, p.task, p.label, p.score, p.detail "
            "from prediction p, generate_series(2, %(n)s) n where p.sop_instance_uid = %(uid)s",
            {"n": count, "uid": first},
        )


def test_the_index_is_the_sum_that_it_is_said_to_be() -> None:
    index, chance = stability_index({"a": 5000, "b": 5000}, {"a": 8000, "b": 2000})
    assert index == pytest.approx(0.3 * math.log(2.5) + 0.3 * math.log(1.6), rel=1e-3)
    assert chance == pytest.approx(3.841 * (1 / 10_000 + 1 / 10_000), rel=0.03)
    same, _ = stability_index({"a": 10}, {"a": 10})
    assert same == 0
    gone, _ = stability_index({"a": 100}, {"a": 50, "b": 50})
    assert math.isfinite(gone)
    assert gone > 0.25


def test_a_station_that_changed_is_told_from_one_that_did_not_and_one_too_small(films: Films) -> None:
    now, before = UNTIL - timedelta(days=1), UNTIL - timedelta(days=30)
    fill(films, "STEADY", before, others=160, spine=80)
    fill(films, "STEADY", now, others=40, spine=20)
    fill(films, "MOVED", before, others=160, spine=80)
    fill(films, "MOVED", now, others=10, spine=50)
    fill(films, "FEW", before, others=160, spine=80)
    fill(films, "FEW", now, spine=49)
    fill(films, "BLIND", before, others=238, unknown=2)
    fill(films, "BLIND", now, others=55, unknown=5)
    fill(films, "LATE", UNTIL, others=60)
    rows = {row["station"]: row for row in drift(films.database, "body_part", UNTIL)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "MOVED": "shifted", "BLIND": "look", "STEADY": "steady", "FEW": "too few",
    }  # fmt: skip
    assert next(iter(rows)) == "MOVED", "the most pressing first"
    assert rows["FEW"]["labels"]["psi"] is None
    assert (rows["FEW"]["recent"], rows["FEW"]["reference"]) == (49, 240)
    assert (rows["BLIND"]["unknown"], rows["BLIND"]["unknown_moved"]) == (pytest.approx(5 / 60), True)
    assert rows["BLIND"]["unknown_before"] == pytest.approx(2 / 240)


def test_the_command_says_so_and_exits_3_when_one_shifted(
    films: Films, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_DATABASE_URL", films.database.url)
    settings.cache_clear()
    until = ["--until", UNTIL.isoformat()]
    assert main(["annotate", "drift", *until]) == 0
    assert "No model read a film" in capsys.readouterr().out
    fill(films, "MOVED", UNTIL - timedelta(days=30), others=240)
    fill(films, "MOVED", UNTIL - timedelta(days=1), spine=60)
    assert main(["annotate", "drift", *until]) == 3
    assert capsys.readouterr().out.startswith("MOVED: shifted; 60 films after 240; PSI of classes ")
    assert main(["annotate", "drift", "--json", *until]) == 3
    assert json.loads(capsys.readouterr().out)[0]["station"] == "MOVED"
    assert main(["annotate", "drift", "--days", "0", *until]) == 1
    assert "between 1 and 3650" in capsys.readouterr().err
    assert main(["annotate", "agreement"]) == 0
    assert main(["annotate", "export"]) == 0
    assert "sop_instance_uid,region" in capsys.readouterr().out
    settings.cache_clear()


def test_no_such_task(database: Database) -> None:
    with pytest.raises(AnnotationError, match="no task"):
        drift(database, "fracture")
