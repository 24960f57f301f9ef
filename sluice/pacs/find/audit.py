"""Sweeps as facts: when each ran and what it proved, and what a later one found otherwise than the one before.

A study of a window is *late* when a later sweep finds it first, *changed* when its answer or its instances differ,
*gone* when the PACS does not know it any more, *moved* when it lists it under a date outside the window, *returned*
when it comes back. Nothing is concluded to be gone from a sweep that is not proven complete, and each study that a
proven sweep did not show is asked for by its UID once more. What a PACS no longer has is gone from every window that
expects it, a cohort's too.

Several PACS may be swept for the same window. Each is compared with what it listed itself; an instance is absent when
none of them lists it any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import psycopg2.extras
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, copy_rows, named_query, select
from sluice.windows import Window

RESUMED_WITHIN = "12 hours"  # a sweep that broke off is gone on with; after longer it begins anew
# Study-level attributes whose change is worth a row; the numbers of instances come with the instances themselves.
WATCHED = {
    "00080020": "StudyDate",
    "00080030": "StudyTime",
    "00080050": "AccessionNumber",
    "00081030": "StudyDescription",
    "00100020": "PatientID",
    "00100021": "IssuerOfPatientID",
    "00080061": "ModalitiesInStudy",
    "00201206": "NumberOfStudyRelatedSeries",
    "00201208": "NumberOfStudyRelatedInstances",
}


@dataclass(frozen=True)
class Run:
    """One sweep.

    Attributes:
        run_id: its row in `sweep_run`.
        is_first: no sweep of the whole window has finished before, so nothing it finds is late.
    """

    run_id: int
    window_key: str
    pacs: str
    is_first: bool


@dataclass(frozen=True)
class Due:
    """A day to sweep again at one PACS."""

    pacs: str
    day: date


@dataclass
class Differences:
    """Studies that this sweep found otherwise than the one before."""

    late: int = 0
    changed: int = 0
    gone: int = 0
    moved: int = 0
    returned: int = 0

    def as_dict(self) -> dict[str, int]:
        """Counts by event."""
        return asdict(self)

    def any(self) -> bool:
        """Whether something is new."""
        return any(asdict(self).values())

    def note(self, event: str) -> None:
        """One more of an event."""
        setattr(self, event, getattr(self, event) + 1)


def begin_run(database: Database, pacs: str, window: Window) -> Run:
    """Begin a sweep, or go on with one of the same window that broke off a short while ago."""
    kind = "cohort" if window.kind == "cohort" else "day" if window.is_whole else "minutes"
    which = (window.key, pacs, kind, window.from_s, window.to_s)
    with database.transaction() as connection:
        broken_off = select(
            connection,
            "select run_id from sweep_run where (window_key, pacs, kind, from_s, to_s) = (%s, %s, %s, %s, %s) "
            "and finished_at is null and started_at > now() - %s::interval order by run_id desc limit 1",
            (*which, RESUMED_WITHIN),
        )
        finished = select(
            connection,
            "select from window_coverage where window_key = %s and pacs = %s limit 1",
            (window.key, pacs),
        )
        rows = broken_off or select(
            connection,
            "insert into sweep_run (window_key, pacs, kind, from_s, to_s) values (%s, %s, %s, %s, %s) returning run_id",
            which,
        )
    return Run(rows[0]["run_id"], window.key, pacs, not finished)


def finish_run(
    database: Database, run: Run, queries: int, uncertain: int, contradicted: int, assumes: Collection[str]
) -> None:
    """The sweep is through: what it took and what it proves."""
    database.execute(
        "update sweep_run set finished_at = now(), queries = %s, uncertain = %s, contradicted = %s, assumes = %s "
        "where run_id = %s",
        (queries, uncertain, contradicted, sorted(assumes), run.run_id),
    )


def windows_due(database: Database, ages: Sequence[int], today: date, most: int) -> list[Due]:
    """Days to sweep again, each at the PACS that is due: no sweep of it there has finished since the day reached one of
    the ages, days after its end, or a study was moved to it since. The longest overdue first, at most `most` of each
    PACS."""
    rows = database.rows("windows_to_audit", {"ages": list(ages), "today": today, "most": most})
    return [Due(row["pacs"], date.fromisoformat(row["window_key"])) for row in rows]


def done_in(connection: Connection, run: Run, studies: Collection[str]) -> set[str]:
    """Which of these studies this sweep has written already."""
    rows = select(
        connection,
        "select study_instance_uid from found_study "
        "where window_key = %s and pacs = %s and run_id = %s and study_instance_uid = any(%s)",
        (run.window_key, run.pacs, run.run_id, list(studies)),
    )
    return {row["study_instance_uid"] for row in rows}


def unchanged(connection: Connection, run: Run, answers: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Which of these studies are listed exactly as before, their number of instances among what is listed; they count
    as seen."""
    counted = {uid: answer for uid, answer in answers.items() if (answer.get("00201208") or {}).get("Value")}
    rows = select(
        connection,
        "select study_instance_uid, answer from found_study f "
        "where window_key = %s and pacs = %s and study_instance_uid = any(%s) and coalesce((select event "
        "from study_event e where e.window_key = f.window_key and e.pacs = f.pacs "
        "and e.study_instance_uid = f.study_instance_uid and event in ('gone', 'moved', 'returned') "
        "order by event_id desc limit 1), 'returned') = 'returned'",  # what is back has to be looked into
        (run.window_key, run.pacs, list(counted)),
    )
    same = {row["study_instance_uid"] for row in rows if row["answer"] == counted[row["study_instance_uid"]]}
    with connection.cursor() as cursor:
        cursor.execute(
            "update found_study set last_found_at = now(), run_id = %s "
            "where window_key = %s and pacs = %s and study_instance_uid = any(%s)",
            (run.run_id, run.window_key, run.pacs, list(same)),
        )
    return same


def write_study(
    connection: Connection, run: Run, uid: str, answer: dict[str, Any], leaf: int | None
) -> dict[str, Any] | None:
    """Keep the newest answer for a study; return the one before."""
    (row,) = select(
        connection,
        "with before as (select answer from found_study "
        "where pacs = %(pacs)s and study_instance_uid = %(uid)s and window_key = %(window)s) "
        "insert into found_study (pacs, study_instance_uid, window_key, leaf_id, answer, run_id) "
        "values (%(pacs)s, %(uid)s, %(window)s, %(leaf)s, %(answer)s, %(run)s) "
        "on conflict (pacs, study_instance_uid, window_key) do update "
        "set answer = excluded.answer, leaf_id = excluded.leaf_id, run_id = excluded.run_id, last_found_at = now() "
        "returning (select answer from before) as before",
        {"pacs": run.pacs, "uid": uid, "window": run.window_key, "leaf": leaf, "run": run.run_id,
         "answer": psycopg2.extras.Json(answer)},
    )  # fmt: skip
    before: dict[str, Any] | None = row["before"]
    return before


def compare(
    connection: Connection,
    run: Run,
    uid: str,
    before: dict[str, Any] | None,
    answer: dict[str, Any],
    held: Collection[str],
    is_proven: bool,
) -> str | None:
    """Note what is otherwise than before, of the study and of its instances; return the event.

    Args:
        before: the answer of the sweep before; None for a study that is new in this window.
        held: SOP Instance UIDs that the PACS lists now; to be called before they are written as expected.
        is_proven: whether none that it holds can be missing from them.
    """
    listed = _listed(connection, run, uid)
    back = [one for one in listed if one["sop"] in held and _is_back(run, one)]
    gone = [one for one in listed if one["is_listed"] and one["sop"] not in held] if is_proven else []
    _note_presence(connection, run, back, None)
    _note_presence(connection, run, gone, "no-longer-held")
    if before is None:
        if run.is_first:
            return None
        _note(connection, run, uid, "late", {})
        return "late"
    here = {one["sop"] for one in listed if one["window_key"] == run.window_key}
    added = len(set(held) - here)
    returned = sum(one["window_key"] == run.window_key for one in back)
    lost = sum(one["window_key"] == run.window_key for one in gone)
    detail: dict[str, Any] = {
        name: [_value(before, tag), _value(answer, tag)]
        for tag, name in WATCHED.items()
        if _value(before, tag) != _value(answer, tag)
    }
    if added or returned or lost:
        detail["instances"] = [added + returned, lost]
    if returned and returned == len(here):
        event = "returned"
    elif detail:
        event = "changed"
    else:
        return None
    _note(connection, run, uid, event, detail)
    return event


def not_seen(connection: Connection, run: Run) -> dict[str, bool]:
    """Studies that this sweep was not answered, though an earlier one was, and that are not known to be gone; whether
    they were found in this window, and not in a cohort by the study date that is the window's."""
    rows = select(
        connection,
        named_query("studies_not_seen"),
        {"pacs": run.pacs, "window_key": run.window_key, "run_id": run.run_id},
    )
    return {row["uid"]: row["is_ours"] for row in rows}


def note_gone(connection: Connection, run: Run, uid: str, moved_to: str | None) -> str:
    """A study is gone, or listed under the date `moved_to`, as the PACS writes it; return the event.

    What is gone is gone from every window in which this PACS listed it; what moved left this one.
    """
    event = "moved" if moved_to else "gone"
    listed = [one for one in _listed(connection, run, uid) if one["is_listed"]]
    if moved_to:
        listed = [one for one in listed if one["window_key"] == run.window_key]
    _note_presence(connection, run, listed, "moved-to-other-day" if moved_to else "no-longer-held")
    windows = select(
        connection,
        "select window_key from found_study "
        "where pacs = %s and study_instance_uid = %s and (not %s or window_key = %s)",
        (run.pacs, uid, bool(moved_to), run.window_key),
    )
    for window in (row["window_key"] for row in windows):
        detail: dict[str, Any] = {"instances": [0, sum(one["window_key"] == window for one in listed)]}
        if moved_to:
            detail["StudyDate"] = [None, [moved_to]]
        _note(connection, run, uid, event, detail, window)
    return event


def _listed(connection: Connection, run: Run, uid: str) -> list[dict[str, Any]]:
    """Each expected instance of a study, in each window: whether this PACS lists it as far as is known, what it said
    last (`said`, null: nothing since), and why it is absent (`absent`, null: it is not)."""
    return select(connection, named_query("instances_listed"), {"pacs": run.pacs, "study": uid})


def _is_back(run: Run, one: Mapping[str, Any]) -> bool:
    """Whether an instance that the PACS lists now was absent, or not listed by it; what moved out of another window is
    not back there."""
    if one["window_key"] != run.window_key and one["absent"] == "moved-to-other-day":
        return False
    return one["said"] is False or one["absent"] is not None


def _note(
    connection: Connection, run: Run, uid: str, event: str, detail: dict[str, Any], window: str | None = None
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into study_event (run_id, window_key, pacs, study_instance_uid, event, detail) "
            "values (%s, %s, %s, %s, %s, %s)",
            (run.run_id, window or run.window_key, run.pacs, uid, event, psycopg2.extras.Json(detail)),
        )


def _note_presence(connection: Connection, run: Run, listed: Collection[Mapping[str, Any]], reason: str | None) -> None:
    """Instances are held again, or for this reason no longer by this PACS."""
    copy_rows(
        connection,
        "instance_presence",
        ("window_key", "sop_instance_uid", "run_id", "is_held", "reason_code"),
        ((one["window_key"], one["sop"], run.run_id, "f" if reason else "t", reason) for one in listed),
        expect_new=True,
    )
    if reason and listed:
        _note_other_holders(connection, run, listed)


def _note_other_holders(connection: Connection, run: Run, listed: Collection[Mapping[str, Any]]) -> None:
    """What another PACS lists, or lists the study of, is still held: its sweep is named once more, because the newest
    row of an instance counts. Should it not hold the instance, its own next sweep says so."""
    which = {"windows": [one["window_key"] for one in listed], "instances": [one["sop"] for one in listed]}
    with connection.cursor() as cursor:
        cursor.execute(named_query("note_other_holders"), {"pacs": run.pacs, **which})


def _value(answer: Mapping[str, Any], tag: str) -> Any:
    return (answer.get(tag) or {}).get("Value")
