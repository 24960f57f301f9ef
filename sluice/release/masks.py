"""Files that say nothing of the patient's person, where a project asks that rare values be masked in them, too.

The tables are masked when they are written. A file has its bytes and digest by then, so who is rare is decided when a
release is prepared, by the headers as they were received and what the profile makes of them: nothing is exported twice.
Struck are attributes of the person: sex, age, size, weight, ethnic group and their like, and the institution. The date,
the device and the body part stay, which the pixels show anyway; the report of the review says what that leaves
(`sluice.release.anonymity`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812
from psycopg2.extras import execute_values

from sluice.database import Database, named_query, select
from sluice.deid.held import Held
from sluice.deid.identities import Identities, cap_age, shift_date
from sluice.deid.profile import Action, Profile, sop_classes
from sluice.deid.reread import Reread, reread
from sluice.release.columns import TEXTS
from sluice.release.contents import settle, stream
from sluice.release.counting import count
from sluice.release.linkage.people import People
from sluice.release.projects import Project
from sluice.release.reports import CHILDREN, CODE_VALUE, CONCEPT, OF_THE_PERSON
from sluice.release.review.rules import without
from sluice.release.review.strings import Retained, retained

COUNTED = ("patient_sex", "patient_age", "study_date", "institution_name", "station_name", "manufacturer", "model_name",
           "body_part_examined")  # fmt: skip
LOST = (None, Action.REMOVE, Action.EMPTY, Action.DUMMY)
# Last tag of what is struck, wherever it stands: group 0010 but for the name and the identifier, and the institution.
IDENTITY = frozenset(("0010,0010", "0010,0020"))
INSTITUTION = frozenset(("0008,0080", "0008,0081", "0008,1040"))


def decide(connection: Connection, project: Project, identities: Identities, release_id: int, people: People) -> int:
    """Decide whose files of a release are masked; how many files. Again, and where nobody asks for it: nothing.

    Args:
        identities: as the release's patients were given them.
    """
    if project.anonymity.files != "mask" or select(
        connection, "select from release_mask where release_id = %s limit 1", (release_id,)
    ):
        return 0
    settle(connection, release_id)
    before = [row["columns"] for row in stream(connection, "release_objects", {"release_id": release_id})
              if row["kind"] == "dicom"]  # fmt: skip
    own = dict(_columns(connection, project.deid_profile(), identities, release_id, people))
    _, masking = count([*before, *own.values()], project.anonymity, "suppress")
    rare = [(release_id, uid) for uid, columns in own.items() if masking.is_rare(columns)]
    with connection.cursor() as cursor:
        execute_values(cursor, "insert into release_mask values %s", rows := rare or [(release_id, "")], page_size=1000)
    return len(rows) if rare else 0


def masked_members(database: Database, release_id: int) -> frozenset[str]:
    """SOP Instance UIDs of a release's members whose files are masked."""
    with database.transaction() as connection:
        rows = select(connection, "select sop_instance_uid from release_mask where release_id = %s", (release_id,))
    return frozenset(row["sop_instance_uid"] for row in rows)


def masked(data: bytes, file: Reread, pseudonym: str) -> tuple[bytes, Reread]:
    """A produced file without what it says of the patient's person.

    Raises:
        Held: a report says it in a content item.
    """
    if any(one.path[-3:] == (CHILDREN, CONCEPT, CODE_VALUE) and one.text() in PERSON_CODES for one in file.elements):
        raise Held("held-residual", "a report that says sex, age, size or weight of a patient who is rare")
    struck = [one for one in retained(file, pseudonym) if _is_of_the_person(one)]
    if not struck:
        return data, file
    data = without(data, file, struck)
    return data, reread(data)


PERSON_CODES = frozenset(code for _, code in OF_THE_PERSON)


def _is_of_the_person(one: Retained) -> bool:
    last = one.path.rpartition(">")[2]
    return last in INSTITUTION or (last.startswith("0010,") and last not in IDENTITY)


def _columns(
    connection: Connection, profile: Profile, identities: Identities, release_id: int, people: People
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the produced files will say, as far as it is counted, by SOP Instance UID."""
    said: dict[str, dict[str, str]] = {}
    for name in COUNTED:
        asked = {"release_id": release_id, "tag": f"{TEXTS[name]:08X}"}
        for row in select(connection, named_query("mask_elements"), asked):
            value = (row["value"] or [""])[0]
            said.setdefault(row["sop_instance_uid"], {})[name] = str(value).strip()
    classes = {
        row["sop_instance_uid"]: row["sop_class_uid"]
        for row in select(
            connection,
            "select sop_instance_uid, sop_class_uid from release_member join instance using (sop_instance_uid) "
            "where release_id = %s",
            (release_id,),
        )
    }
    for member in people.members:
        uid, patient = member["sop_instance_uid"], member["patient"]
        if uid is None or patient is None:
            continue
        try:
            columns: dict[str, Any] = {"patient": identities.patient(*patient)}
        except Held:
            continue  # it will be held when it is exported, too
        of_class = sop_classes().get(classes.get(uid, ""))
        for name, value in said.get(uid, {}).items():
            rule = profile.rule(TEXTS[name], of_class["iod"]) if of_class else None
            columns[name] = _produced(name, value, rule.action if rule else None, identities, patient)
        yield uid, columns


def _produced(
    name: str, value: str, action: Action | None, identities: Identities, patient: tuple[str, str]
) -> str | None:
    if action in LOST:
        return None
    if action is Action.SHIFT:
        return shift_date(value, identities.shift_days(*patient))
    return cap_age(value) if name == "patient_age" else value
