"""The preview beside counting by hand; what the PACS lists and we lack; and how long it would take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from psycopg2.extras import Json

from sluice.cohorts.errors import CohortError
from sluice.cohorts.language import parse, parse_text
from sluice.cohorts.preview import Preview, preview
from sluice.database import Database
from sluice.pacs.governor.estimate import time_needed
from sluice.pacs.governor.policy import Limits, Policy, change_policy
from sluice.pacs.governor.pressure import Bearing
from sluice.stack.postgres import EmbeddedPostgres
from tests.cohorts.small import ROOT, TODAY, SmallHospital, chosen
from tests.conftest import temporary_database

NIGHTS = Policy("Europe/Berlin", ("." * 24,) * 5 + ("f" * 12 + "g" * 12,) * 2, Limits(2), Limits(4, 3_000_000.0))


@pytest.fixture(scope="module")
def hospital(postgres: EmbeddedPostgres) -> Iterator[tuple[Database, SmallHospital]]:
    with temporary_database(postgres) as database:
        yield database, SmallHospital(database, seed=3, patients=12)


def of(database: Database, asked: Any) -> Preview:
    return preview(database, parse(asked), TODAY)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"modality": ["CT", "DX"], "not": {"quality": {"held": True}}},
        {"any": [{"instance_number": 1}, {"tag": "0018,0081", "is": {"max": 30}}]},
        {"patient_has": {"studies": {"min": 2}}},
    ],
)
def test_counts_are_those_of_counting_by_hand(hospital: tuple[Database, SmallHospital], asked: dict[str, Any]) -> None:
    database, small = hospital
    uids = chosen(asked, small.instances)
    mine = [one for one in small.instances if one["sop_instance_uid"] in uids]
    seen = of(database, asked)

    def counted(instances: list[dict[str, Any]]) -> tuple[int, ...]:
        patients = {(i["patient_id"], i["patient_id_issuer"] or "") for i in instances if i["patient_id"]}
        studies, series = ({i[f"{level}_instance_uid"] for i in instances} for level in ("study", "series"))
        return len(patients), len(studies), len(series), len(instances), 1000 * len(instances)

    assert tuple(vars(seen.here).values()) == counted(mine)
    columns = {"modality": "modality", "scanner": "station_name", "body_part": "region_key"}
    for dimension, column in columns.items():
        assert {group.value: tuple(vars(group.counts).values()) for group in seen.by[dimension]} == {
            value: counted([one for one in mine if one[column] == value]) for value in {one[column] for one in mine}
        }
    years = Counter(one["study_date"] and one["study_date"].year for one in mine)
    assert {group.value: group.counts.instances for group in seen.by["year"]} == dict(years)
    without = chosen({"all": [part for part in asked.get("all", [asked]) if part]}, small.instances)
    if "not" not in asked:
        assert seen.held == sum(bool(one["held"]) for one in small.instances if one["sop_instance_uid"] in without)
        assert seen.held_are_taken
    else:
        loose = chosen({"modality": asked["modality"]}, small.instances)
        assert seen.held == sum(bool(one["held"]) for one in small.instances if one["sop_instance_uid"] in loose) > 0
        assert not seen.held_are_taken


def answer(**values: Any) -> Json:
    tags = {
        "modalities": "00080061",
        "date": "00080020",
        "words": "00081030",
        "instances": "00201208",
        "born": "00100030",
    }
    return Json(
        {
            tags[name]: {"vr": "LO", "Value": value if isinstance(value, list) else [value]}
            for name, value in values.items()
        }
    )


@pytest.fixture
def listing(database: Database) -> Database:
    """A PACS that lists six studies, of which one is here, one is half here and one is gone."""
    window = "2026-10-20"
    database.execute(
        "insert into sweep_window (window_key, kind, starts_on, ends_on) values (%s, 'day', %s, %s)", [window] * 3
    )
    studies = {
        1: answer(modalities=["CT", "SR"], date="20261020", words="CT Thorax", instances=100, born="19800101"),
        2: answer(modalities=["CT"], date="20261020", words="CT Knie", instances="10"),
        3: answer(modalities=["MR"], date="20251020", words="MR Thorax", instances=50),
        4: answer(date="20261020", words="Thorax"),
        5: answer(modalities=["CT"], date="20261020", words="CT Thorax", instances=7),
        6: answer(modalities=["CT"], date="20261020", words="CT Thorax", instances=9),
    }
    for number, said in studies.items():
        database.execute(
            "insert into found_study (pacs, study_instance_uid, window_key, answer) values ('main', %s, %s, %s)",
            (f"{ROOT}.{number}", window, said),
        )
    for number, here in ((2, 4), (5, 7)):
        database.execute(
            "insert into study (study_instance_uid, study_date) values (%s, %s)", (f"{ROOT}.{number}", window)
        )
        database.execute(
            "insert into series (series_instance_uid, study_instance_uid, modality) values (%s, %s, 'CT')",
            (f"{ROOT}.{number}.1", f"{ROOT}.{number}"),
        )
        database.execute(
            "insert into header_block (series_instance_uid, study_instance_uid, instances, file_bytes, sop_class_uid, "
            "transfer_syntax_uid, elements, content) values (%s, %s, %s, %s, '1.2', '1.2', '{}', '')",
            (f"{ROOT}.{number}.1", f"{ROOT}.{number}", here, here * 500_000),
        )
        for one in range(here):
            database.execute(
                "insert into receipt (sop_instance_uid, series_instance_uid, study_instance_uid, sop_class_uid, "
                "transfer_syntax_uid, source, calling_ae, called_ae, peer, association, bytes, sha256, path) values "
                "(%s, %s, %s, '1.2', '1.2', 'move', 'A', 'B', 'p', gen_random_uuid(), 1, '', '')",
                (f"{ROOT}.{number}.1.{one}", f"{ROOT}.{number}.1", f"{ROOT}.{number}"),
            )
    database.execute("insert into sweep_run (window_key, pacs, kind) values (%s, 'main', 'day')", (window,))
    database.execute(
        "insert into study_event (run_id, window_key, pacs, study_instance_uid, event) "
        "select run_id, window_key, pacs, %s, 'gone' from sweep_run",
        (f"{ROOT}.6",),
    )
    return database


@pytest.mark.parametrize(
    ("text", "certain", "possible"),
    [
        ("{}", (4, 156), (0, 0)),
        ("modality: CT", (2, 106), (1, 0)),  # study 4 does not say its modalities
        ("modality: [CT, MR]", (3, 156), (1, 0)),
        ("not: {modality: SR}", (3, 156), (1, 0)),
        ("{study_description: {word: thorax}, study_date: {year: 2026}}", (2, 100), (0, 0)),
        ("{modality: CT, slice_thickness: {max: 1.5}}", (0, 0), (3, 106)),
        ("{modality: CT, not: {quality: {held: true}}}", (2, 106), (1, 0)),
        ("{modality: CT, study_date: {to: 2025-12-31}}", (0, 0), (0, 0)),
        ("{has: {modality: SR}, modality: CT}", (0, 0), (3, 106)),
        # born in 1980 and seen in 2026, 46.8 by the dates; a header may say 046Y
        ("age: {between: [45, 47]}", (1, 100), (3, 56)),
        ("age: {max: 46}", (0, 0), (4, 156)),
        ("age: 46", (0, 0), (4, 156)),
        ("age: {above: 47}", (0, 0), (3, 56)),
        ("age: 45", (0, 0), (3, 56)),
        ("age: {below: 45}", (0, 0), (3, 56)),
        ("sex: F", (0, 0), (4, 156)),
    ],
)
def test_what_the_pacs_lists_and_we_lack(
    listing: Database, text: str, certain: tuple[int, int], possible: tuple[int, int]
) -> None:
    fetched = preview(listing, parse_text(text), TODAY).to_fetch
    found = [
        (one.certain_studies, one.certain_instances, one.possible_studies, one.possible_instances) for one in fetched
    ]
    assert found == ([(*certain, *possible)] if certain[0] + possible[0] else [])


def test_hours_rest_on_policy_and_on_what_requests_brought(listing: Database) -> None:
    (before,) = preview(listing, parse({"modality": "MR"}), TODAY).to_fetch
    assert before.hours is None
    assert any("not known" in line for line in before.rests_on)
    change_policy(listing, "main", Policy.first(2, "UTC"), "vera")
    listing.execute(
        "insert into attempt (window_key, pacs, study_instance_uid, kind, wanted, bytes, started_at, finished_at) "
        "values ('2026-10-20', 'main', 'x', 'C-MOVE', 1, 10000000, now() - interval '20 s', now() - interval '10 s')"
    )
    (after,) = preview(listing, parse({"modality": "MR"}), TODAY).to_fetch
    assert after.certain_instances + after.possible_instances == 50
    assert after.bytes == 50 * 500_000
    assert after.hours == pytest.approx(50 * 500_000 / 2e6 / 3600, abs=0.01)
    assert "2 at once" in after.rests_on[1]


def test_closed_hours_are_waited_for() -> None:
    friday = datetime(2026, 10, 23, 12, 0, tzinfo=UTC)
    # 4 associations of 1 MB/s may bring no more than 3 MB/s; 2 in gentle hours
    needed = time_needed(NIGHTS, Bearing(), 1e6, int(3e6 * 3600 * 12 + 2e6 * 3600), friday)
    assert needed is not None
    assert needed.hours == pytest.approx(13)
    assert needed.ready_at == datetime(2026, 10, 24, 11, 0, tzinfo=UTC)  # Saturday 13:00 in Berlin
    weeks = time_needed(NIGHTS, Bearing(), 1e6, int(1e13), friday)
    assert weeks is not None
    assert weeks.ready_at - friday > timedelta(weeks=20)
    assert time_needed(Policy("UTC", ("." * 24,) * 7, Limits(1), Limits(1)), Bearing(), 1e6, 1, friday) is None


def test_too_slow_says_what_to_narrow_it_by(hospital: tuple[Database, SmallHospital]) -> None:
    database, _ = hospital
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("lock table header_block in access exclusive mode")
        with pytest.raises(CohortError, match="Narrow it by `study_date` or `body_part`") as raised:
            preview(database, parse({"modality": "CT", "EchoTime": {"max": 30}}), date(2026, 1, 1), limit_s=0.2)
    assert "EchoTime" in str(raised.value)


def test_nothing_can_be_written_in_a_preview(database: Database) -> None:
    import psycopg2.errors

    from sluice.cohorts.preview import reading

    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction), reading(database, parse({}), 5) as connection:
        connection.cursor().execute("delete from study")
