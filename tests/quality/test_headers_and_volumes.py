"""What rules see of header blocks, slices, other studies of a patient, and whole windows; on a real database."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sluice.database import Database, select
from sluice.quality.check import WindowHalted, check
from sluice.quality.decisions import decide
from sluice.quality.volumes import distances
from tests.ledger_rows import DAY, LedgerRows
from tests.quality.blocks import block
from tests.quality.test_check import findings

WINDOW = DAY.isoformat()
AXIAL = ("DS", [1, 0, 0, 0, 1, 0])
PIXELS = {"00280002": ("US", [1]), "00280100": ("US", [16]), "00281052": ("DS", [-1024]), "00281053": ("DS", [1])}


def places(*heights: float) -> dict[str, tuple[str, list[Any]]]:
    return {"00200032": ("DS", [[-170, -170, height] for height in heights])}


def test_rules_read_what_blocks_hold_alike_and_apart(database: Database, tmp_path: Path) -> None:
    rows = LedgerRows(database)
    sound: dict[str, Any] = {
        "image_type": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "bits_stored": 12,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_bytes": 512 * 512 * 2,
    }

    def stack(study: int, heights: tuple[float, ...], shared: Any = None, apart: Any = None, **more: Any) -> Any:
        series = rows.series(rows.study(study))
        uids = [rows.instance(series, number + 1, **sound | more) for number in range(len(heights))]
        common = PIXELS | {"00200037": AXIAL, "00200052": ("UI", ["1.2.9"]), "00180060": ("DS", [120])}
        block(rows, series, uids, common | (shared or {}), places(*heights) | (apart or {}))
        return series, uids

    even = (0.0, 2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 17.5, 20.0)
    stack(1, even)
    holed, _ = stack(2, (*even[:4], *even[6:]))
    uneven, _ = stack(3, (0.0, 2.5, 5.0, 8.1, 10.0, 12.5, 15.9, 17.5, 20.0))
    stack(4, (*even, *even), apart={"00200012": ("IS", [[1]] * 9 + [[2]] * 9)})  # two phases of one place
    moved, _ = stack(5, even, apart={"00200052": ("UI", [["1.2.9"]] * 8 + [["1.2.8"]])})
    turned, _ = stack(
        6, even, {"00200037": ("DS", None)}, {"00200037": ("DS", [[1, 0, 0, 0, 0, -1]] + [[1, 0, 0, 0, 1, 0]] * 8)}
    )
    stack(7, (0.0, 2.5, 5.0, 40.0), {"00200037": AXIAL}, image_type=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    _, (_, zero, *_) = stack(8, even, {"00180060": ("DS", None)}, {"00180060": ("DS", [[120], [0], *[[120]] * 7])})
    _, (undated, *_) = stack(
        9, even, {"00080020": ("DA", ["20261026"])}, {"00080032": ("TM", [["256161"], *[["101500.12"]] * 8])}
    )
    _, (short, padded, *_) = stack(10, even, {"00280010": ("US", [512])})
    database.execute("update instance set pixel_bytes = pixel_bytes - 512 where sop_instance_uid = %s", (short,))
    database.execute("update instance set pixel_bytes = pixel_bytes + 4 where sop_instance_uid = %s", (padded,))
    _, coloured = stack(11, (0.0,), {"00280002": ("US", [3])}, pixel_bytes=512 * 512 * 6)
    _, packed = stack(12, (0.0,), transfer_syntax_uid="1.2.840.10008.1.2.4.70", pixel_bytes=600_000)

    check(database, WINDOW, tmp_path)
    assert findings(database) == {
        ("slices-missing", holed),
        ("slice-distance-uneven", uneven),
        ("frame-of-reference-mixed", moved),
        ("orientation-mixed", turned),
        ("kvp-implausible", zero),
        ("dates-unreadable", undated),
        ("pixels-too-short", short),
        ("pixels-too-long", padded),
        ("samples-contradict-photometric", coloured[0]),
    }
    assert packed


@pytest.mark.parametrize(
    ("heights", "expected"),
    [
        ([0, 1, 2, 3, 4], (5, 1.0, 0, 0.0)),
        ([0, 1, 2, 5, 6, 8], (6, 1.0, 3, 0.0)),
        ([0, 0, 1, 1, 2, 2, 3, 3], (4, 1.0, 0, 0.0)),
        ([3, 1, 0, 2], (4, 1.0, 0, 0.0)),
        ([0, 1, 2, 3, 4.4, 5.4], (6, 1.0, 0, 0.2)),
        ([0, 1, 2], (3, None, None, None)),
    ],
)
def test_distances_of_slices(heights: list[float], expected: tuple[Any, ...]) -> None:
    oblique = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0)  # its normal is the z axis as well
    found = distances([(7.0, -3.0, height) for height in heights], oblique)
    names = ("slices", "slice_distance_mm", "slices_missing", "slice_distance_varies")
    assert tuple(found.get(name) for name in names) == pytest.approx(expected)


def test_another_person_under_the_same_patient_id(database: Database, tmp_path: Path) -> None:
    rows = LedgerRows(database)

    def study(number: int, patient: str, name: str, born: date = date(1970, 5, 17), sex: str = "F") -> str:
        uid = rows.study(number, patient_id=patient, patient_name=name, patient_birth_date=born, patient_sex=sex)
        rows.instance(rows.series(uid), 1, patient_id=patient)
        return uid

    married = [study(1, "P1", "MUELLER^ANNA"), study(2, "P1", "Schmidt^Anna")]
    mistyped = [study(3, "P2", "Weiss^Karl"), study(4, "P2", "Weiss^Karl", born=date(1971, 5, 17))]
    mixed = [study(5, "P3", "Weber^Ida"), study(6, "P3", "Krause^Otto", born=date(1950, 1, 1), sex="M")]
    study(7, "P3", "Weber^Ida", sex="O")
    damaged = study(8, "P4", "M\ufffdller^Eva")
    encoded_twice = study(9, "P5", "MÃ¼ller^Eva")
    database.execute("update study set patient_birth_date = '1970-05-18' where study_instance_uid = %s", (married[0],))
    database.execute("update study set patient_birth_date = '1970-05-18' where study_instance_uid = %s", (married[1],))
    check(database, WINDOW, tmp_path)
    found = findings(database)
    assert {uid for rule, uid in found if rule == "patient-id-with-two-birth-dates"} == set(mistyped)
    assert {uid for rule, uid in found if rule == "patient-id-of-two-people"} >= set(mixed)
    assert {uid for rule, uid in found if rule == "patient-id-with-two-sexes"} >= set(mixed)
    assert {uid for rule, uid in found if rule == "text-damaged-in-study"} == {damaged, encoded_twice}
    assert not {uid for _, uid in found} & set(married)
    with database.transaction() as connection:
        seen = str(select(connection, "select observed from quality_finding"))
    assert not any(secret in seen for secret in ("Weiss", "Krause", "1950", "P3"))


def test_a_day_of_which_much_is_missing_is_held_until_a_person_accepts_it(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rows = LedgerRows(database)
    rows.healthy_study(1, 100)
    database.execute(
        "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
        "select %s, '1.9.' || n, '1.9', '1.8', 'pacs' from generate_series(1, 150) n",
        (WINDOW,),
    )
    summary = check(database, WINDOW, tmp_path)
    said = {record.name.partition(".")[0] for record in caplog.records}
    assert "great_expectations" not in said, "the library's talk hides in the task's log why it is red"
    assert ("window-mostly-missing", WINDOW) in {(rule, uid or WINDOW) for rule, uid in findings(database)}
    assert (summary.halted_by, summary.stops, summary.held) == (["window-mostly-missing"], 1, 100)
    with pytest.raises(WindowHalted, match="window-mostly-missing"):
        summary.raise_if_halted()
    with database.transaction() as connection:
        assert select(connection, "select count(*) as n from quality_hold") == [{"n": 250}]
        assert select(connection, "select halted, stops from quality_run") == [{"halted": True, "stops": 1}]
    decide(database, "window-mostly-missing", "window", WINDOW, "accept", "the rest is not wanted", "vera")
    again = check(database, WINDOW, tmp_path)
    assert (again.halted_by, again.stops, again.held, again.findings) == ([], 0, 0, summary.findings)
    again.raise_if_halted()
    page = (tmp_path / "index.html").read_text()
    assert page.count(f'href="{WINDOW}/index.html"') == 1
    assert "held" not in page
