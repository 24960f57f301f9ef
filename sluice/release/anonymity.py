"""What a version tells of the persons in it, for who approves it: the tables by classes, the headers by attributes.

Counting is `sluice.release.counting`. What is masked are the tables; the DICOM headers say what the profile keeps, and
where a project asks for it nothing of the person where that is rare (`sluice.release.masks`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from psycopg2.extras import Json

from sluice.database import Database
from sluice.release.contents import objects, settle
from sluice.release.counting import SCANNER, Columns, Masking, count
from sluice.release.plan import ReleaseError
from sluice.release.projects import Anonymity

# Columns of a produced file that describe a person or lead to one, and the quasi-identifier that the tables count.
ATTRIBUTES: dict[str, str | None] = {
    "patient_sex": "sex",
    "patient_age": "age",
    "study_date": "year",
    **dict.fromkeys(SCANNER, "scanner"),
    "body_part_examined": "body_part",
    "patient_size_m": None,
    "patient_weight_kg": None,
    "ethnic_group": None,
}


class Headers:
    """What the DICOM headers of a version say, attribute by attribute, counted while their rows go by."""

    def __init__(self) -> None:
        self._persons: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._unread: set[str] = set()

    def seen(self, columns: Columns) -> Columns:
        """Count an instance, and give its columns back."""
        person = str(columns.get("patient"))
        if "ethnic_group" not in columns:  # as files of versions before 0.3 were read
            self._unread.add(person)
        for name in ATTRIBUTES:
            if value := columns.get(name):
                self._persons[name][str(value)].add(person)
        return columns

    def report(self, k: int, tables: Mapping[str, Any], masking: Masking) -> dict[str, Any]:
        """By attribute: `persons` whose headers say it, `rare` persons with a value that fewer than k have, and whether
        the tables say it: `as they are`, `coarser`, `not of rare persons` or `not at all`. `more` are the attributes of
        which the headers tell more than the tables; `unread` are persons of files that nobody read for this.
        """
        attributes = {}
        for name, of in ATTRIBUTES.items():
            values = self._persons.get(name)
            if values:
                rare = set().union(*(persons for persons in values.values() if len(persons) < k))
                attributes[name] = {
                    "persons": len(set().union(*values.values())),
                    "rare": len(rare),
                    "tables": _shown_by_tables(of, tables, masking),
                }
        more = [name for name, one in attributes.items() if one["tables"] != "as they are"]
        return {"attributes": attributes, "more": more, "unread": len(self._unread)}


def _shown_by_tables(of: str | None, tables: Mapping[str, Any], masking: Masking) -> str:
    if of is None:
        return "not at all"
    if masking.applies and (tables["levels"][of] or of in ("age", "year")):
        return "coarser"
    return "not of rare persons" if masking.applies and tables["suppressed"] else "as they are"


def assess(database: Database, release: Mapping[str, Any]) -> tuple[dict[str, Any], Masking]:
    """Count everything that a version contains as things stand, keep the report for who approves it, and refuse an
    unpublished one that tells too much; the report, and what the tables may say. See `count`.

    Raises:
        ReleaseError: the project's policy is to hold, and persons are in classes of fewer than k.
    """
    release_id, is_new = release["release_id"], release["published_at"] is None
    if is_new:
        with database.transaction() as connection:
            settle(connection, release_id)
    asked = Anonymity.model_validate(release["anonymity"] or {})
    headers = Headers()
    rows = (headers.seen(row["columns"]) for row in objects(database, release_id) if row["kind"] == "dicom")
    report, masking = count(rows, asked)
    report["headers"] = headers.report(asked.k, report, masking)
    report["files"] = asked.files
    database.execute("update release set anonymity_report = %s where release_id = %s", (Json(report), release_id))
    if is_new and report["policy"] == "hold" and report["below_k"]["persons"]:
        raise ReleaseError(
            f"{report['below_k']['persons']} of {report['persons']} persons share what the tables say of them with "
            f"fewer than {report['k'] - 1} others, and the project's policy is to hold. Choose another policy in "
            "its file (generalise, suppress, report), or release more persons at once."
        )
    return report, masking
