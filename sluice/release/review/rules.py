"""What people decided about strings, remembered for every later release of the project, or of all projects."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import Database, copy_rows, named_query, select
from sluice.deid.conformance.iods import iod_of
from sluice.deid.held import Held
from sluice.deid.reread import Reread
from sluice.release.review.errors import ReviewError
from sluice.release.review.strings import WHOLE_VRS, Retained, element_of

DECISIONS = ("keep", "remove", "hold", "withdrawn")
REMOVED = "REMOVED"
SOP_CLASS = 0x00080016


@dataclass(frozen=True)
class Rules:
    """What stands for one project.

    Attributes:
        strings: decision by the digest of a string.
        paths: decision by path, for every value there that has none of its own.
    """

    strings: dict[str, str]
    paths: dict[str, str]

    def decision(self, one: Retained) -> str | None:
        """`keep`, `remove`, `hold`, or None where nobody decided."""
        if self.strings and (own := self.strings.get(one.digest)):
            return own
        return self.paths.get(one.path)

    def check(self, strings: Iterable[Retained]) -> list[Retained]:
        """Strings that have to go.

        Raises:
            Held: an object with one of them is held.
        """
        if not self.strings and not self.paths:
            return []
        decided = [(one, self.decision(one)) for one in strings]
        if held := sorted({one.path for one, decision in decided if decision == "hold"}):
            raise Held("held-review", f"a string in {', '.join(held)} is held by a person's decision"[:500])
        return [one for one, decision in decided if decision == "remove"]


def decisions_of(connection: Connection, project: str) -> Rules:
    """The decisions that stand for a project: its own before those for all."""
    strings: dict[str, str] = {}
    paths: dict[str, str] = {}
    for row in select(connection, named_query("review_rules"), {"project": project}):  # those for all come first
        if row["digest"] is None:
            paths[row["path"]] = row["decision"]
        else:
            strings[row["digest"]] = row["decision"]
    return Rules(strings, paths)


def remember(
    database: Database,
    release_id: int,
    strings: Sequence[int],
    decision: str,
    by: str,
    reason: str = "",
    path: str | None = None,
    everywhere: bool = False,
) -> int:
    """Decide about strings, or about every value of an element; return how many objects are to be made anew.

    Where something now has to go or is held, and where such a decision is taken back, the objects of this release that
    have it are to be produced again, which voids every approval of it.

    Args:
        strings: ids of `retained_string`; empty where `path` says which element.
        everywhere: for all projects instead of the release's own.

    Raises:
        ReviewError: there is no such release or string, or the release is published.
    """
    if decision not in DECISIONS or bool(strings) == (path is not None):
        raise ReviewError("Say keep, remove, hold or withdrawn, of strings or of one element.")
    with database.transaction() as connection:
        release = select(connection, "select * from release where release_id = %s for update", (release_id,))
        if not release:
            raise ReviewError(f"There is no release {release_id}.")
        if release[0]["published_at"] is not None:
            raise ReviewError("This version is published, and so never changes. Decide with the next one.")
        known = select(
            connection,
            "select distinct path, string_id from retained_string where string_id = any(%s) or path = %s",
            (list(strings), path),
        )
        if len(known) < len(set(strings)) or not known:
            raise ReviewError("There is no such string. Load the page again.")
        project = None if everywhere else release[0]["project"]
        about = [(path, None)] if path is not None else [(row["path"], row["string_id"]) for row in known]
        copy_rows(
            connection,
            "string_rule",
            ("project", "path", "string_id", "decision", "reason", "decided_by"),
            [(project, place, string_id, decision, reason, by) for place, string_id in about],
        )
        return mark_redo(connection, release_id)


def mark_redo(connection: Connection, release_id: int) -> int:
    """Mark the objects of a release that were not produced as today's decisions want it; how many wait for that.

    A marked object counts as not uploaded, so that `export_batch` makes it again and nothing is published before.
    """
    with connection.cursor() as cursor:
        cursor.execute(named_query("review_redo"), {"release_id": release_id})
        if cursor.rowcount:
            cursor.execute(named_query("review_redo_objects"), {"release_id": release_id})
            cursor.execute(named_query("review_redo_derived"), {"release_id": release_id})
            cursor.execute("update release set verified_at = null where release_id = %s", (release_id,))
    rows = select(connection, "select count(*) as n from review_redo where release_id = %s", (release_id,))
    return int(rows[0]["n"])


def without(data: bytes, file: Reread, strings: Sequence[Retained]) -> bytes:
    """A produced file without these strings: the element goes; where its object needs one, it says REMOVED.

    Raises:
        Held: a number that the object needs has to go.
    """
    import pydicom

    targets = element_of(file, strings)
    sop_class = next((one.text() for one in file.elements if one.path == (SOP_CLASS,)), "")
    dataset = pydicom.dcmread(io.BytesIO(data))
    for one in targets:
        holder: Any = dataset
        for depth, number in enumerate(one.item):
            holder = holder[one.path[depth]].value[number]
        needs = _type_of(sop_class, one.path)
        if needs in ("1", "1C"):
            if one.vr in ("AS", "DS", "IS", "UN"):
                raise Held("held-review", "a value that has to go is one that its object needs")
            holder[one.tag].value = REMOVED
        elif needs == "2":
            holder[one.tag].value = "" if one.vr in WHOLE_VRS else None
        else:
            del holder[one.tag]
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=False)
    return buffer.getvalue()


def _type_of(sop_class: str, path: tuple[int, ...]) -> str:
    iod = iod_of(sop_class)
    if iod is None:
        return "3"
    found = [
        kind
        for module in (iod.mandatory, *iod.optional)
        for tag, kind in (module.top if len(path) == 1 else module.nested.get(path[:-1], ()))
        if tag == path[-1]
    ]
    return min(found, default="3")
