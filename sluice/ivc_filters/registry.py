"""The registry of IVC filters: sightings of the detector, corrected by people, as one row a patient.

A retrievable filter is best taken out between 29 and 54 days after it was placed (FDA safety communication of 6 May
2014, on Morales et al., J Vasc Surg Venous Lymphat Disord 1 (2013) 376-384). When it was placed no picture tells, only
that it was there when it was first seen: the true due date is that one or earlier.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import IO, Any, Literal

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.csv_cells import inert
from sluice.database import Database, named_query, select
from sluice.settings import settings

STATES = ("seen after retrieval", "due", "dwelling", "retrieved", "rejected")
Kind = Literal["confirmed", "not_a_filter", "retrieved", "withdrawn"]
KINDS: tuple[Kind, ...] = ("confirmed", "not_a_filter", "retrieved", "withdrawn")
COLUMNS = (
    "patient_id", "patient_id_issuer", "state", "is_confirmed", "first_seen", "last_seen", "dwell_days", "due_on",
    "retrieved_on", "without_since", "images", "studies", "rejected_images", "best_score",
)  # fmt: skip


class CorrectionError(RuntimeError):
    """What a person said cannot be kept; the message says what to do."""


@dataclass(frozen=True)
class Correction:
    """What a person says of a patient's filter.

    Attributes:
        patient: as the registry names one.
        kind: `confirmed`, `not_a_filter` (of an image), `retrieved` (of the patient), or `withdrawn`, which takes back
            what was said last of the same image, or of the patient.
        sop_instance_uid: the image, None for the patient as a whole.
        retrieved_on: the day, of `retrieved`.
        note: for colleagues.
    """

    patient: str
    kind: Kind
    sop_instance_uid: str | None = None
    retrieved_on: date | None = None
    note: str = ""


def patients(
    database: Database, state: str | None = None, patient: str | None = None, today: date | None = None
) -> list[dict[str, Any]]:
    """Patients with a filter, the most pressing first.

    Args:
        state: one of `STATES`, or None for all. `due`: first seen `settings().ivc_filter_due_days` ago or longer, and
            nobody said that it was retrieved. `rejected`: a person said of every image that it shows none.
        today: what days are counted to.
    """
    return database.rows(
        "ivc_filters",
        {
            "state": state,
            "patient": patient,
            "today": today or date.today(),
            "due_days": settings().ivc_filter_due_days,
        },
    )


def images(database: Database, patient: str) -> list[dict[str, Any]]:
    """Images of a patient that show a filter, the newest first, with boxes `{"box": [x0, y0, x1, y1], "score"}` in
    pixels of the 512-pixel canonical image."""
    return database.rows("ivc_filter_images", {"patient": patient})


def history(database: Database, patient: str) -> list[dict[str, Any]]:
    """What people said of a patient's filter, newest first."""
    return database.rows("ivc_filter_history", {"patient": patient})


def correct(database: Database, said: Correction, by: str, today: date | None = None) -> None:
    """Keep what a person says; the newest of an image, and of a patient, counts.

    Raises:
        CorrectionError: the patient or image is not in the registry, or a date is missing, wrong or too much.
    """
    if not by.strip():
        raise CorrectionError("A correction is a person's: say who you are.")
    if (said.kind == "retrieved") != (said.retrieved_on is not None):
        raise CorrectionError("A retrieval, and nothing else, has a day: say on which day the filter was retrieved.")
    if said.kind == "retrieved" and said.sop_instance_uid is not None:
        raise CorrectionError("A filter is retrieved of a patient, not of an image: leave the image out.")
    if said.kind == "not_a_filter" and said.sop_instance_uid is None:
        raise CorrectionError("Say of which image: that a picture shows no filter is said of each.")
    if said.retrieved_on is not None and said.retrieved_on > (today or date.today()):
        raise CorrectionError(f"{said.retrieved_on} is still to come: only what happened is kept.")
    with database.transaction() as connection:
        known = select(connection, named_query("ivc_filter_images"), {"patient": said.patient})
        shown = {row["sop_instance_uid"] for row in known}
        if said.sop_instance_uid is not None and said.sop_instance_uid not in shown:
            _check_image(connection, said)
        elif not known:
            raise CorrectionError("There is no such patient in the registry of IVC filters.")
        first = min((row["seen_on"] for row in known if row["seen_on"]), default=None)
        if said.retrieved_on is not None and first is not None and said.retrieved_on < first:
            raise CorrectionError(f"It was first seen on {first}, after {said.retrieved_on}. Correct the day.")
        with connection.cursor() as cursor:
            cursor.execute(
                "insert into ivc_filter_correction (patient, sop_instance_uid, kind, retrieved_on, note, by) "
                "values (%s, %s, %s, %s, %s, %s)",
                (said.patient, said.sop_instance_uid, said.kind, said.retrieved_on, said.note, by),
            )


def _check_image(connection: Connection, said: Correction) -> None:
    """A person may see a filter that the model missed, in any image of the patient."""
    of_image = {"sop_instance_uid": said.sop_instance_uid}
    rows = select(connection, named_query("ivc_filter_patient_of"), of_image)
    if not rows or rows[0]["patient"] != said.patient:
        raise CorrectionError("This image is none of the patient's.")
    if said.kind != "confirmed":
        raise CorrectionError("Nobody said that this image shows a filter.")


def patient_of_image(database: Database, sop_instance_uid: str) -> str:
    """How the registry names the patient of an image.

    Raises:
        CorrectionError: the image is not here.
    """
    rows = database.rows("ivc_filter_patient_of", {"sop_instance_uid": sop_instance_uid})
    if not rows:
        raise CorrectionError("There is no such image here.")
    return str(rows[0]["patient"])


def patient_of(database: Database, patient_id: str, issuer: str | None = None) -> str:
    """How the registry names a patient, by Patient ID.

    Raises:
        CorrectionError: no patient of it has a filter here.
    """
    found = [
        row["patient"]
        for row in patients(database)
        if row["patient_id"] == patient_id and (issuer is None or row["patient_id_issuer"] == issuer)
    ]
    if len(found) != 1:
        raise CorrectionError(
            "Several patients have this Patient ID; say its issuer too."
            if found
            else "No patient with this Patient ID is in the registry of IVC filters."
        )
    return str(found[0])


def write_csv(rows: Iterable[dict[str, Any]], out: IO[str]) -> int:
    """The registry as CSV, one line a patient; how many."""
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    count = 0
    for row in rows:
        writer.writerow([inert(row[name]) if isinstance(row[name], str) else row[name] for name in COLUMNS])
        count += 1
    return count
