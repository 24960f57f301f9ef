"""People teach words: add a mapping, take it back, see how many series that changes, apply it to all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.anatomy.mappings import KINDS, LONGEST_TEXT, Kind, Taught
from sluice.anatomy.phases import DETAILS, PHASES
from sluice.anatomy.rederive import Rederived, apply_pending, compared
from sluice.anatomy.regions import REGIONS
from sluice.anatomy.sequences import SEQUENCES, WITH_CONTRAST
from sluice.anatomy.store import WRITING, load_mappings
from sluice.anatomy.words import normalise
from sluice.database import Database, select

log = logging.getLogger(__name__)

VALUES: dict[Kind, tuple[str, ...]] = {
    "region": tuple(REGIONS),
    "mr_sequence": (*SEQUENCES, *(f"{name}{WITH_CONTRAST}" for name in ("T1", "T2", "FLAIR", "MRA"))),
    "ct_phase": ("plain", "enhanced", *(f"enhanced {detail}" for detail in DETAILS), "angiographic", "localizer"),
}
assert set(PHASES) <= {value.partition(" ")[0] for value in VALUES["ct_phase"]}
REHEARSED = 4000  # different headers that a rehearsal reads at most
ANSWERS = (
    "region_key", "sct_code", "laterality", "view", "mr_sequence", "mr_sequence_detail", "mr_contrast", "ct_phase",
    "ct_phase_detail",
)  # fmt: skip
VIEWS = ("AP", "PA", "LAT", "FRONTAL", "OBL", "AXIAL", "TAN", "LL", "RL", "DV", "DP")


class TeachingError(RuntimeError):
    """A mapping that makes no sense; the message says why."""


@dataclass(frozen=True)
class Lesson:
    """What a person says about a text.

    Attributes:
        kind: what it is about.
        said: the whole text as it stands in headers.
        value: one of `VALUES[kind]`; None where the text says nothing of this kind.
        laterality, view: what else a text about a region says.
        source_tag, manufacturer, station_name: where it holds; None everywhere.
        language: of the word, for shared lists.
        why: a remark.
    """

    kind: Kind
    said: str
    value: str | None
    laterality: str | None = None
    view: str | None = None
    source_tag: str | None = None
    manufacturer: str | None = None
    station_name: str | None = None
    language: str | None = None
    why: str | None = None

    @property
    def key(self) -> str:
        """The text normalised, as it is matched."""
        return normalise(self.said)

    def check(self) -> None:
        """Raise TeachingError where it makes no sense. No message repeats the text: it may name a patient."""
        if self.kind not in KINDS:
            raise TeachingError(f"{self.kind!r} is no kind: write one of {', '.join(KINDS)}.")
        if self.value is not None and self.value not in VALUES[self.kind]:
            raise TeachingError(
                f"{self.value!r} is no {self.kind}: write one of {', '.join(VALUES[self.kind])}, or nothing."
            )
        if not self.key or len(self.said) > LONGEST_TEXT:
            raise TeachingError(f"The text has to hold a letter or digit, and at most {LONGEST_TEXT} characters.")
        if self.laterality not in (None, "R", "L", "B"):
            raise TeachingError("A side is R, L or B.")
        if self.view is not None and self.view not in VIEWS:
            raise TeachingError(f"A view is one of {', '.join(VIEWS)}.")


def teach(
    database: Database, lesson: Lesson, by: str, progress: Callable[[Rederived], None] | None = None
) -> tuple[int, Rederived]:
    """Add a mapping and read the series that it concerns again; its id, and what changed.

    The same mapping again is the one that stands. Where the reading stops half-way, the next call of `apply_pending`
    finishes it.

    Raises:
        TeachingError: it makes no sense.
    """
    lesson.check()
    with database.transaction() as connection:
        mapping_id = add_mapping(connection, lesson, by)
    log.info("Mapping %d of kind %s added by %s", mapping_id, lesson.kind, by)
    return mapping_id, apply_pending(database, progress)


def add_mapping(connection: Connection, lesson: Lesson, by: str) -> int:
    """The row of a mapping; one that stands already, word for word, is not added again."""
    values = asdict(lesson) | {"key": lesson.key, "by": by}
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (WRITING,))
    standing = select(
        connection,
        """
        select * from (select mapping_id, value, laterality, view from anatomy_mapping
                        where kind = %(kind)s and key = %(key)s and withdrawn_at is null
                          and source_tag is not distinct from %(source_tag)s
                          and manufacturer is not distinct from %(manufacturer)s
                          and station_name is not distinct from %(station_name)s
                        order by mapping_id desc limit 1) newest
         where value is not distinct from %(value)s and laterality is not distinct from %(laterality)s
           and view is not distinct from %(view)s
        """,
        values,
    )
    if standing:
        return int(standing[0]["mapping_id"])
    (row,) = select(
        connection,
        """
        insert into anatomy_mapping (kind, key, said, value, laterality, view, source_tag, manufacturer, station_name,
                                     language, why, added_by)
        values (%(kind)s, %(key)s, %(said)s, %(value)s, %(laterality)s, %(view)s, %(source_tag)s, %(manufacturer)s,
                %(station_name)s, %(language)s, %(why)s, %(by)s)
        returning mapping_id
        """,
        values,
    )
    return int(row["mapping_id"])


def withdraw(
    database: Database, mapping_id: int, by: str, progress: Callable[[Rederived], None] | None = None
) -> Rederived:
    """Take a mapping back and read its series again; what held before it holds again.

    Raises:
        TeachingError: there is no such mapping, or it is withdrawn.
    """
    with database.transaction() as connection:
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_xact_lock(%s)", (WRITING,))
        rows = select(
            connection,
            "update anatomy_mapping set withdrawn_at = clock_timestamp(), withdrawn_by = %s "
            "where mapping_id = %s and withdrawn_at is null returning mapping_id",
            (by, mapping_id),
        )
    if not rows:
        raise TeachingError(f"There is no mapping {mapping_id}, or it is withdrawn already.")
    log.info("Mapping %d withdrawn by %s", mapping_id, by)
    return apply_pending(database, progress)


@dataclass(frozen=True)
class Effect:
    """What a mapping would do.

    Attributes:
        concerned: series whose header holds the text.
        changed: series whose answer would be another.
        estimated: so many different headers hold it that `changed` is reckoned from a part of them.
    """

    concerned: int
    changed: int
    estimated: bool = False

    def as_dict(self) -> dict[str, Any]:
        """As the page gets it."""
        return asdict(self)


def rehearse(database: Database, lesson: Lesson) -> Effect:
    """What `teach` would change; changes nothing.

    Raises:
        TeachingError: it makes no sense.
    """
    lesson.check()
    looked_at = changed = 0
    with database.transaction() as connection:
        mappings = load_mappings(connection).with_one(_as_newest(lesson))
        (holding,) = select(
            connection,
            "select count(*) as series, count(distinct evidence) as evidence from header_anatomy "
            "join anatomy_evidence using (evidence) where keys @> array[%s]",
            (lesson.key,),
        )
        # evidence comes in the order of its digest, which is as good as drawn by lot
        for now, then, series in compared(connection, mappings, [lesson.key], REHEARSED):
            looked_at += series
            changed += series if any(now[name] != then[name] for name in ANSWERS) else 0
    concerned = int(holding["series"])
    if holding["evidence"] <= REHEARSED:
        return Effect(concerned, changed)
    return Effect(concerned, round(concerned * changed / max(looked_at, 1)), estimated=True)


def _as_newest(lesson: Lesson) -> Taught:
    where = {name: getattr(lesson, name) for name in ("source_tag", "manufacturer", "station_name")}
    return Taught(2**62, lesson.kind, lesson.key, lesson.value, lesson.laterality, lesson.view, **where)
