"""What people wait for while a release of 100,000 instances is reviewed, requested and recalled, and how that grows.

A release of made-up strings over the synthetic hospital of `ten_million.sql`, cut to size: some 1,600 series, tens of
thousands of distinct strings, pictures, held members with reasons, text found in pixels, and an earlier version. Each
step beside what it took at a fifth of that size, times five: a ratio of 1 is linear. What a person waits for has to
come within a second. SLUICE_BENCH_INSTANCES makes it smaller.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks._ten_million import LAST_DAY, load
from benchmarks.run import Row
from sluice.cohorts.language import parse
from sluice.database import Database, copy_rows, migrate, select
from sluice.release import anonymity
from sluice.release.cohorts import freeze_for
from sluice.release.export import hold, prepare
from sluice.release.plan import parts_of
from sluice.release.projects import Project
from sluice.release.recall.opt_outs import Target, Terms, add
from sluice.release.requests import progress, registry
from sluice.release.reuse import reuse
from sluice.release.review import decide, digest_of, open_review, remember, report, standing
from sluice.release.review.pool import Pool, Pooled
from sluice.release.review.rules import decisions_of
from sluice.release.review.strings import Retained
from sluice.release.review.thumbnails import keep_thumbnails, sampled
from sluice.stack.postgres import EmbeddedPostgres

INSTANCES = int(os.environ.get("SLUICE_BENCH_INSTANCES", "100000"))
A_STUDY = 143  # instances of the synthetic hospital
SHARE = 5
CHUNK = 500
A_PERSON_WAITS_S = 1.0
WINDOW = "cohort/radiographs/all"
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9").ljust(6_000, b"\0")  # as large as a real one
PROJECT = Project(
    name="radiographs",
    title="Benchmark",
    profile="longitudinal",
    selection={"modality": ["CR", "DX", "MG", "CT", "MR"]},
    bucket="releases",
    pseudonym_prefix="BEN",
)


def run(work: Path) -> list[Row]:
    """Measure at both sizes, the smaller one first."""
    with EmbeddedPostgres(work / "postgres", durable=True) as postgres:
        few = _measure(_database(postgres, "few"), work / "few", INSTANCES // SHARE)
        many = _measure(_database(postgres, "many"), work / "many", INSTANCES)
    rows = []
    for name, (took, is_waited_for) in many.items():
        before = few[name][0]
        if is_waited_for:
            ratio = A_PERSON_WAITS_S / max(took, 1e-6)
            rows.append(Row(name, took, before, f"at 1/{SHARE} of the size", "s", ratio, 1.0, ratio >= 1.0))
        else:
            ratio = before * SHARE / max(took, 1e-6)
            rows.append(Row(name, took, before, f"at 1/{SHARE} of the size", "s", ratio, None, True))
    return rows


def _database(postgres: EmbeddedPostgres, name: str) -> Database:
    with postgres_admin(postgres) as cursor:
        cursor.execute(f"create database {name}")
    migrate(postgres.url(name))
    return Database(postgres.url(name))


@contextmanager
def postgres_admin(postgres: EmbeddedPostgres) -> Iterator[Any]:
    """A cursor that may make databases."""
    connection = Database(postgres.url("postgres")).connect()
    connection.autocommit = True
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


class _Clock:
    """What took how long: seconds, and whether a person waits for it."""

    def __init__(self) -> None:
        self.took: dict[str, tuple[float, bool]] = {}

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        """Something that a task does."""
        return self._timed(name, work, False)

    def asked(self, name: str, work: Callable[[], Any]) -> Any:
        """Something that a person waits for."""
        return self._timed(name, work, True)

    def _timed(self, name: str, work: Callable[[], Any], is_waited_for: bool) -> Any:
        began = time.monotonic()
        done = work()
        self.took[name] = (time.monotonic() - began, is_waited_for)
        print(f"  {name}: {self.took[name][0]:.3f} s", flush=True)
        return done


def _measure(database: Database, home: Path, instances: int) -> dict[str, tuple[float, bool]]:
    clock = _Clock()
    load(database, instances // A_STUDY)
    expression = parse({"modality": ["CR", "DX", "MG", "CT", "MR", "US", "NM"]})
    _expect(database)
    frozen = freeze_for(database, PROJECT.name, "all", expression, "rita", "benchmark")
    everything = PROJECT.model_copy(update={"selection": expression})
    keys = home / "keys"

    def prepared() -> Any:
        return prepare(database, everything, WINDOW, keys=keys, version_id=frozen.version_id)

    plan = clock.step("prepare", prepared)
    _fill(database, plan.release_id, clock)
    _review(database, plan.release_id, clock)
    _ask(database, clock)
    database.execute("update release set published_at = now() where release_id = %s", (plan.release_id,))
    _next_version(database, everything, keys, frozen.version_id, clock)
    _recall(database, clock)
    return clock.took


def _expect(database: Database) -> None:
    """The cohort's window as a fetch leaves it: everything was expected in it, and came."""
    database.execute(
        "insert into sweep_window (window_key, kind, starts_on, ends_on) values (%s, 'cohort', %s, %s)",
        (WINDOW, LAST_DAY, LAST_DAY),
    )
    database.execute(
        "insert into expectation (window_key, sop_instance_uid, series_instance_uid, study_instance_uid, pacs) "
        "select %s, sop_instance_uid, series_instance_uid, study_instance_uid, 'pacs' from instance",
        (WINDOW,),
    )
    database.execute("analyze expectation")


def _fill(database: Database, release_id: int, clock: _Clock) -> None:
    """What an export leaves: objects, pooled strings, pictures, held members, texts in pixels."""
    with database.transaction() as connection:
        members = select(
            connection,
            """
            select m.sop_instance_uid as uid, r.receipt_id, r.sha256, i.series_instance_uid as series, s.modality,
                   s.series_description, s.body_part_examined, s.model_name, s.station_name, t.patient_id,
                   t.patient_sex, t.study_description, dense_rank() over (order by t.patient_id) as person,
                   row_number() over (order by r.receipt_id) as number
              from release_member m join receipt r using (sop_instance_uid) join instance i using (sop_instance_uid)
              join series s on s.series_instance_uid = i.series_instance_uid
              join study t on t.study_instance_uid = i.study_instance_uid
             where m.release_id = %s order by r.receipt_id
            """,
            (release_id,),
        )
        pictured = sampled(connection, release_id)
    held = [row for row in members if row["number"] % 50 == 0]
    kept = [row for row in members if row["number"] % 50]
    now = datetime.now(UTC)
    with database.transaction() as connection:
        reasons = ("held-text", "held-residual", "held-conformance", "held-face")
        hold(
            connection,
            release_id,
            [(row["uid"], reasons[row["number"] // 50 % 4], f"detail {row['number'] % 7}") for row in held],
        )
        copy_rows(
            connection,
            "released_object",
            ("release_id", "sop_instance_uid", "object_key", "bytes", "sha256", "columns", "verified_at",
             "source_sha256", "uploaded_at"),
            [
                (release_id, row["uid"], f"radiographs/v1/dicom/{_patient(row)}/{row['uid']}.dcm", 250_000,
                 _digest(row), _columns(row), now, row["sha256"], now)
                for row in kept
            ],
        )  # fmt: skip
        screened = [row for row in members if row["modality"] in ("US", "CR", "DX", "CT")]
        copy_rows(
            connection,
            "pixel_screening",
            ("sop_instance_uid", "screener", "frames", "image_rows", "image_columns", "found", "markers"),
            [(row["uid"], "bench", [0], 512, 512, 1, 1) for row in screened],
        )
        copy_rows(
            connection,
            "pixel_text",
            ("sop_instance_uid", "screener", "number", "frame", "box_left", "box_top", "box_width", "box_height",
             "score", "is_marker", "said"),
            [
                (row["uid"], "bench", number, 0, 1, 1, 20, 20, 0.9, number == 0,
                 ("L", "R", "SUPINE")[row["number"] % 3] if number == 0 else f"text {row['number'] % 3000}")
                for row in screened
                for number in (0, 1)
            ],
        )  # fmt: skip
        with connection.cursor() as cursor:
            cursor.execute("update release set verified_at = now() where release_id = %s", (release_id,))
    pool = Pool(database, release_id)
    chunks = [
        [Pooled(row["uid"], _digest(row), _strings(row)) for row in kept[first : first + CHUNK]]
        for first in range(0, len(kept), CHUNK)
    ]
    clock.step("pooling all strings", lambda: [pool.keep(chunk) for chunk in chunks])
    clock.step(f"the last {CHUNK} again, as a task that was killed", lambda: pool.keep(chunks[-1]))
    pictures = [
        (row["uid"], "2.25." + row["series"], _patient(row), pictured[row["uid"]], JPEG)
        for row in kept
        if row["uid"] in pictured
    ]
    keep_thumbnails(database, release_id, pictures)
    connection = database.connect()
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("analyze")
    connection.close()


def _patient(row: dict[str, Any]) -> str:
    return f"BEN-{row['person']:010d}"


def _digest(row: dict[str, Any]) -> str:
    return f"{row['number']:064x}"


def _columns(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "patient": _patient(row),
        "series_instance_uid": "2.25." + row["series"],
        "modality": row["modality"],
        "patient_sex": row["patient_sex"],
        "patient_age": f"{20 + row['person'] % 70:03d}Y",
        "study_date": f"{2020 + row['person'] % 6}0101",
        "manufacturer": "Maker",
        "model_name": row["model_name"],
        "station_name": row["station_name"],
        "body_part_examined": row["body_part_examined"],
        "study_description": row["study_description"],
        "series_description": row["series_description"],
    }


def _strings(row: dict[str, Any]) -> tuple[Retained, ...]:
    """Some forty strings: most alike in a scanner, some of the study, and in a third of the objects one of its own."""
    station, person, number = row["station_name"] or "", row["person"], row["number"]
    found = {Retained(f"0018,{4096 + tag:04X}", "LO", "text", f"{row['model_name']} {tag}") for tag in range(20)}
    found |= {Retained(f"0018,{5120 + tag:04X}", "CS", "code", f"CODE{tag % 9} {station[:2]}") for tag in range(12)}
    found |= {
        Retained("0008,103E", "LO", "text", f"{row['series_description']} {row['series'][-3:]}"),
        Retained("0008,1030", "LO", "text", f"{row['study_description']}"),
        Retained("0018,1030", "LO", "text", f"{row['modality']} protocol {person % 300}"),
        Retained("0010,1010", "AS", "number", f"{20 + person % 70:03d}Y"),
        Retained("0010,1030", "DS", "number", f"{40 + person % 800 / 10}"),
    }
    if number % 3 == 0:
        found.add(Retained("0019,xx0C[BENCH]", "UN", "text", f"position {number * 7919 % 1_000_003}"))
    return tuple(sorted(found, key=lambda one: (one.path, one.vr, one.value)))


def _review(database: Database, release_id: int, clock: _Clock) -> None:
    """What an approver does, in the order of the page."""
    opened = clock.step("opening the review first", lambda: open_review(database, release_id))
    clock.asked("opening it again", lambda: open_review(database, release_id))
    clock.asked("head of the page", lambda: report.head(database, release_id, opened.digest))
    clock.step("what became of the images", lambda: report.found(database, release_id))
    for show in report.SHOWN:
        clock.asked(f"strings, {show}", lambda show=show: report.strings(database, release_id, show, None, 0))
    clock.asked("strings, a word", lambda: report.strings(database, release_id, "all", "position 99", 0))
    clock.asked(
        "strings, the last page", lambda: report.strings(database, release_id, "all", None, opened.strings - 50)
    )
    clock.asked("pictures", lambda: report.pictures(database, release_id, 0))
    clock.asked("list of reviews", lambda: database.rows("review_list"))
    with database.transaction() as connection:
        clock.asked("digest", lambda: digest_of(connection, release_id))
    shown = report.strings(database, release_id, "rare", None, 0)["strings"]
    rare = [row["string_id"] for row in shown[:50]]
    wide = max(report.strings(database, release_id, "code", None, 0)["strings"], key=lambda row: row["objects"])[
        "string_id"
    ]
    clock.asked("keep 50 strings", lambda: remember(database, release_id, rare, "keep", "anna"))
    clock.asked("remove one string", lambda: remember(database, release_id, rare[:1], "remove", "anna"))
    clock.step("hold a string of most objects", lambda: remember(database, release_id, [wide], "hold", "anna"))
    clock.step("take that back", lambda: remember(database, release_id, [wide], "withdrawn", "anna"))
    clock.asked("take it back", lambda: remember(database, release_id, rare[:1], "withdrawn", "anna"))
    clock.asked(
        "keep every value of an element",
        lambda: remember(database, release_id, [], "keep", "anna", path="0019,xx0C[BENCH]"),
    )
    clock.asked("strings, decided, now many", lambda: report.strings(database, release_id, "decided", None, 0))
    clock.asked("head with decisions", lambda: report.head(database, release_id, opened.digest))
    with database.transaction() as connection:
        rules = clock.step("decisions read by an export", lambda: decisions_of(connection, PROJECT.name))
        pooled = select(connection, "select path, vr, kind, value from retained_string limit 40")
    strings = [Retained(**row) for row in pooled]
    clock.step("decisions applied to 1,000 objects", lambda: [rules.check(strings) for _ in range(1000)])
    database.execute("update released_object set uploaded_at = verified_at where release_id = %s", (release_id,))
    database.execute("delete from review_redo")
    database.execute(
        "update release set verified_at = now(), approvals_needed = 1 where release_id = %s", (release_id,)
    )
    clock.step("anonymity", lambda: anonymity.assess(database, _release(database, release_id)))
    clock.step("opening it after a change", lambda: open_review(database, release_id))
    with database.transaction() as connection:
        digest = standing(connection, release_id).digest
    clock.asked("approve", lambda: decide(database, release_id, "anna", "approved", digest))


def _release(database: Database, release_id: int) -> dict[str, Any]:
    with database.transaction() as connection:
        return select(connection, "select * from release where release_id = %s", (release_id,))[0]


def _ask(database: Database, clock: _Clock) -> None:
    """What a researcher sees."""
    form = {"project": PROJECT.name, "name": "all", "filter": "{modality: [CR, DX, MG, CT, MR, US, NM]}"}
    kept = clock.asked("estimate and ask", lambda: registry.ask(database, form, "rita", True, "benchmark"))
    (row,) = clock.asked("list of requests", lambda: progress.requests(database, None))
    clock.step("progress of a request", lambda: progress.progress(database, row | {"runs": ["r"]}))
    with database.transaction() as connection:
        wanted = select(connection, "select accession_number from study")
    text = "\n".join(["accession_number", *(one["accession_number"] for one in wanted)])
    form = {"project": PROJECT.name, "name": "list", "csv": text}
    kept = clock.asked("ask for a list of all studies", lambda: registry.ask(database, form, "rita", True, "benchmark"))
    request = progress.one_request(database, kept.request_id)
    assert request is not None
    clock.asked("rows of the list", lambda: progress.rows(database, request, 0, 100))
    clock.step("progress of the list", lambda: progress.progress(database, request))


def _next_version(database: Database, project: Project, keys: Path, version_id: int, clock: _Clock) -> None:
    """A second version of the same: everything is named again, nothing is new."""
    other = project.model_copy(update={"formats": ("dicom", "tables")})
    plan = clock.step(
        "prepare a second version",
        lambda: prepare(database, other, WINDOW, keys=keys, version_id=version_id),
    )
    members = [
        row["sop_instance_uid"]
        for row in _rows(database, "select sop_instance_uid from release_member where release_id = %s", plan.release_id)
    ]
    clock.step("name again what the first one holds", lambda: reuse(database, plan.release_id, members))
    opened = clock.step("open its review", lambda: open_review(database, plan.release_id))
    clock.asked("head of its page", lambda: report.head(database, plan.release_id, opened.digest))
    clock.asked("its new strings", lambda: report.strings(database, plan.release_id, "new", None, 0))
    clock.step("its parts", lambda: parts_of(database, plan.release_id))


def _rows(database: Database, statement: str, *values: Any) -> list[dict[str, Any]]:
    with database.transaction() as connection:
        return select(connection, statement, values)


def _recall(database: Database, clock: _Clock) -> None:
    """What an opt-out makes of it."""
    (person,) = _rows(database, "select patient_id from study order by 1 limit 1")
    clock.asked("recalls, none due", lambda: database.rows("recall_affected", {"release_id": None}))
    clock.asked(
        "opt a patient out",
        lambda: add(database, [Target("patient", patient_id=person["patient_id"])], Terms("withdrawn", "x"), "dora"),
    )
    clock.step("what that recalls", lambda: database.rows("recall_affected", {"release_id": None}))
    (newest,) = _rows(database, "select max(release_id) as id from release")
    clock.step(
        "members it takes out of a release", lambda: database.rows("recall_members", {"release_id": newest["id"]})
    )
    target = Target("release", project=PROJECT.name, version=1)
    clock.asked("recall a whole release", lambda: add(database, [target], Terms("error", "x"), "dora"))
    clock.step("what that recalls, all", lambda: database.rows("recall_affected", {"release_id": None}))
    clock.asked("list of recalls", lambda: database.rows("recalls", {"recall_id": None, "overdue": False}))
