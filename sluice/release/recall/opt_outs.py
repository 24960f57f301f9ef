"""The registry of opt-outs: whose images must not be used, from when on, for which projects.

    add(database, read_targets(sys.stdin), Terms("withdrawn", "objection of 26 November"), "dpo")

Rows are appended; one is ended by a withdrawal beside it. What follows from them (no new release, recalls of what was
released) is computed by `opted_out_instance` (`sql/migrations/0026_recall_and_requests.sql`).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Literal, TextIO

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, select
from sluice.release.linkage.merges import Merges

Kind = Literal["patient", "study", "instance", "release", "project"]
Reason = Literal["withdrawn", "error"]
RELEASE = re.compile(r"([a-z0-9][a-z0-9-]{1,39})(?:/v([1-9][0-9]{0,8}))?")
IN_WORDS = "select o.* from opt_out o"
STANDS = (
    "coalesce(o.ends_on, 'infinity') >= current_date "
    "and not exists (select from opt_out_withdrawal w where w.opt_out_id = o.opt_out_id)"
)
UID = re.compile(r"[0-9]+(\.[0-9]+)+")
LONGEST = 64  # of a Patient ID, an issuer or a UID (PS3.5 6.2)
HEADINGS = {
    "patient_id": ("patient_id", "patientid", "patient id", "mrn"),
    "patient_id_issuer": ("patient_id_issuer", "issuer", "issuer_of_patient_id"),
    "study_instance_uid": ("study_instance_uid", "studyinstanceuid", "study"),
    "sop_instance_uid": ("sop_instance_uid", "sopinstanceuid", "instance"),
    "release": ("release",),
}


class OptOutError(RuntimeError):
    """An opt-out cannot be kept; the message names the line, never an identifier."""

    permanent = True


@dataclass(frozen=True)
class Target:
    """What is opted out; exactly the fields of its kind are given."""

    kind: Kind
    patient_id: str | None = None
    patient_id_issuer: str | None = None
    study_instance_uid: str | None = None
    sop_instance_uid: str | None = None
    project: str | None = None
    version: int | None = None


@dataclass(frozen=True)
class Terms:
    """What holds for all targets that are added together.

    Attributes:
        reason: `withdrawn` (a person objects or consent has ended) or `error`; all that recipients are told.
        why: in a person's words; stays in the house.
        projects: for these only; None for all. Of a release or project: for its own.
        starts_on, ends_on: days, both inclusive; today, and for ever, when None.
    """

    reason: Reason
    why: str
    projects: tuple[str, ...] | None = None
    starts_on: date | None = None
    ends_on: date | None = None


def add(database: Database, targets: Iterable[Target], terms: Terms, by: str) -> list[int]:
    """Keep opt-outs, all or none; return their ids. One that stands already in the same words is not kept twice.

    Raises:
        OptOutError: no reason why, a last day before the first, or a release or project that there is not.
    """
    if not terms.why.strip():
        raise OptOutError("Say why: the data protection officer will be asked.")
    if terms.ends_on and terms.ends_on < (terms.starts_on or date.today()):
        raise OptOutError("The last day of an opt-out is before its first.")
    with database.transaction() as connection:
        Merges.now(connection)  # locked in this order everywhere
        # two at once would not see each other's rows
        with connection.cursor() as cursor:
            cursor.execute("lock table opt_out in share row exclusive mode")
        kept = [_add(connection, target, terms, by) for target in targets]
        follow_merges(connection)
    return kept


def follow_merges(connection: Connection) -> None:
    """Opt out everybody who is opted out under all identities that they have (`patient_merge`), in the same words.

    Whatever decides by opt-outs calls it first: a merge may have come after the opt-out.
    """
    merges = Merges.now(connection)
    for row in select(connection, f"{IN_WORDS} where o.kind = 'patient' and {STANDS}"):
        terms = Terms(row["reason"], row["why"], row["projects"], row["starts_on"], row["ends_on"])
        for patient_id, issuer in sorted(merges.others(row["patient_id"], row["patient_id_issuer"])):
            _add(connection, Target("patient", patient_id, issuer or None), terms, row["said_by"])


def _with_merged(connection: Connection, opt_out_id: int) -> list[int]:
    """An opt-out and those that follow from it because the patient has other identities."""
    merges = Merges.now(connection)
    (own,) = select(connection, f"{IN_WORDS} where o.opt_out_id = %s", (opt_out_id,))
    if own["kind"] != "patient":
        return [opt_out_id]
    same = {(patient, issuer or None) for patient, issuer in merges.others(own["patient_id"], own["patient_id_issuer"])}
    words = ("reason", "why", "projects", "ends_on")
    return [opt_out_id] + [
        row["opt_out_id"]
        for row in select(connection, f"{IN_WORDS} where o.kind = 'patient' and {STANDS}")
        if (row["patient_id"], row["patient_id_issuer"]) in same and all(row[word] == own[word] for word in words)
    ]


def withdraw(database: Database, opt_out_id: int, why: str, by: str) -> None:
    """End an opt-out from now on, under all identities of the patient. What was recalled for it does not come back; a
    later release may take it again.

    Raises:
        OptOutError: there is none of this id, or it was withdrawn before.
    """
    with database.transaction() as connection:
        known = select(connection, "select from opt_out where opt_out_id = %s", (opt_out_id,))
        if not known:
            raise OptOutError(f"There is no opt-out {opt_out_id}. See: sluice opt-out list")
        with connection.cursor() as cursor:
            cursor.execute(
                "insert into opt_out_withdrawal (opt_out_id, why, withdrawn_by) values (%s, %s, %s) "
                "on conflict do nothing",
                (opt_out_id, why, by),
            )
            if not cursor.rowcount:
                raise OptOutError(f"Opt-out {opt_out_id} was withdrawn before.")
            cursor.execute(
                "insert into opt_out_withdrawal (opt_out_id, why, withdrawn_by) select unnest(%s), %s, %s "
                "on conflict do nothing",
                (_with_merged(connection, opt_out_id), why, by),
            )


def opt_outs(database: Database, all_of_them: bool = False) -> list[dict[str, Any]]:
    """Opt-outs with their state, newest first; only those in force unless all are asked for. Rows name patients."""
    return database.rows("opt_outs", {"all": all_of_them})


def target_of_release(text: str) -> Target:
    """`radiographs/v3` or a whole project, `radiographs`.

    Raises:
        OptOutError: it is written otherwise.
    """
    found = RELEASE.fullmatch(text.strip())
    if not found:
        raise OptOutError("A release is written like radiographs/v3, a project like radiographs.")
    project, version = found[1], found[2]
    return Target("release" if version else "project", project=project, version=int(version) if version else None)


def read_targets(lines: TextIO) -> Iterator[Target]:
    """Targets of a CSV with a heading: `patient_id` (and `issuer`), `study_instance_uid`, `sop_instance_uid` or
    `release`; in each row one of them.

    Raises:
        OptOutError: no such heading, or a row that names nothing or more than one thing; the message has its line.
    """
    rows = csv.reader(lines, delimiter=max(",;\t", key=_head(lines).count))
    try:
        yield from _read(rows)
    except csv.Error:
        raise OptOutError(f"Line {rows.line_num} is no CSV.") from None


def _read(rows: Any) -> Iterator[Target]:
    named = [_meaning(cell) for cell in next(rows, [])]
    if not set(named) - {None, "patient_id_issuer"}:
        raise OptOutError(f"The first line names no column that is known: {', '.join(HEADINGS)}.")
    count = 0
    for row in rows:
        cells = {name: cell.strip() for name, cell in zip(named, row, strict=False) if name and cell.strip()}
        if cells:
            count += 1
            yield _target(cells, rows.line_num)
    if not count:
        raise OptOutError("There is a heading and no row below it.")


def _head(lines: TextIO) -> str:
    first = lines.readline()
    lines.seek(0)
    return first


def _meaning(heading: str) -> str | None:
    said = heading.strip().lstrip("\ufeff").casefold()
    return next((name for name, words in HEADINGS.items() if said in words), None)


def _target(cells: dict[str, str], line: int) -> Target:
    issuer = cells.pop("patient_id_issuer", None)
    if len(cells) != 1:
        raise OptOutError(f"Line {line} names {'more than one thing' if cells else 'nothing'} to opt out.")
    ((name, value),) = cells.items()
    if name == "release":
        return target_of_release(value)
    if len(value) > LONGEST or (issuer and len(issuer) > LONGEST) or not value.isprintable():
        raise OptOutError(f"Line {line}: a {name} has at most {LONGEST} printable characters.")
    if name == "patient_id":
        return Target("patient", patient_id=value, patient_id_issuer=issuer)
    if not UID.fullmatch(value):
        raise OptOutError(f"Line {line}: a {name} is digits with dots between them.")
    return (
        Target("study", study_instance_uid=value)
        if name.startswith("study")
        else Target("instance", sop_instance_uid=value)
    )


def _add(connection: Connection, target: Target, terms: Terms, by: str) -> int:
    projects = terms.projects
    if target.project is not None:
        projects = projects or (target.project,)
        if not select(
            connection,
            "select from release where project = %s and (%s::integer is null or version = %s) limit 1",
            (target.project, target.version, target.version),
        ):
            name = target.project if target.version is None else f"{target.project}/v{target.version}"
            raise OptOutError(f"Nothing was ever released as {name}.")
    row = asdict(target) | {
        "projects": sorted(set(projects)) if projects else None,
        "reason": terms.reason,
        "why": terms.why.strip(),
        "starts_on": terms.starts_on or date.today(),
        "ends_on": terms.ends_on,
        "said_by": by,
    }
    same = " and ".join(
        f"{name} is not distinct from %({name})s{'::text[]' if name == 'projects' else ''}"
        for name in row
        if name not in ("why", "said_by", "starts_on")
    )
    stands = select(
        connection,
        f"select opt_out_id from opt_out o where {same} and starts_on <= %(starts_on)s and not exists "
        "(select from opt_out_withdrawal w where w.opt_out_id = o.opt_out_id) limit 1",
        row,
    )
    if stands:
        return int(stands[0]["opt_out_id"])
    names = ", ".join(row)
    values = ", ".join(f"%({name})s" for name in row)
    made = select(connection, f"insert into opt_out ({names}) values ({values}) returning opt_out_id", row)
    return int(made[0]["opt_out_id"])
