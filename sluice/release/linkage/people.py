"""Whom a release's members show, and what each patient is given: once, for every later version as for this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.database import copy_line, copy_lines, select
from sluice.deid.identities import Identities, Subject, canonical_patient, is_patient
from sluice.release.linkage.merges import Merges


class Patient(NamedTuple):
    """A patient as headers name them; not for logs."""

    patient_id: str
    issuer: str


@dataclass(frozen=True)
class People:
    """Members of a release with their patients.

    Attributes:
        members: SOP instance, series, study, patient (None for placeholders) and accession number of each.
        survivors: whom a patient was merged into, where they were.
    """

    members: list[dict[str, Any]] = field(repr=False)
    survivors: dict[Patient, Patient] = field(repr=False)

    @property
    def patients(self) -> list[Patient]:
        """Each patient once, in one order."""
        return sorted({member["patient"] for member in self.members if member["patient"] is not None})

    def survivor(self, patient: Patient) -> Patient:
        """Whose identity a patient has."""
        return self.survivors.get(patient, patient)

    def without(self, patients: set[Patient]) -> People:
        """Without what shows these patients."""
        if not patients:
            return self
        return People([member for member in self.members if member["patient"] not in patients], self.survivors)


def people_of(connection: Connection, members: Sequence[str], canaries: Sequence[Patient] = ()) -> People:
    """Whom these instances show, as their headers say, with the merges that hold now."""
    rows = select(
        connection,
        """
        select i.sop_instance_uid, i.series_instance_uid, i.study_instance_uid, i.patient_id,
               coalesce(s.patient_id_issuer, '') as issuer, coalesce(s.accession_number, '') as accession_number
          from instance i
          join study s using (study_instance_uid)
         where i.sop_instance_uid = any(%s)
         order by i.sop_instance_uid
        """,
        (list(members),),
    )
    names: dict[tuple[str, str], Patient] = {}
    for row in rows:
        named = (row["patient_id"] or "", row["issuer"])
        if named not in names:
            issuer, patient_id = canonical_patient(*named).split("\x1f", 1)
            names[named] = Patient(patient_id, issuer)
        row["patient"] = names[named] if is_patient(named[0]) else None
    merges = Merges.now(connection)
    found = {patient for patient in names.values() if merges.survivor(patient) != patient}
    people = People(rows, {patient: Patient(*merges.survivor(patient)) for patient in found})
    people.members.extend({"sop_instance_uid": None, "patient": canary, "accession_number": ""} for canary in canaries)
    return people


def merged_pseudonyms(connection: Connection, identities: Identities, project: str, people: People) -> list[list[str]]:
    """Pseudonyms that earlier versions may have and this one has not, each with the one in its place, in one order."""
    pairs = {
        identities.patient_index(*prior): survivor
        for prior, survivor in people.survivors.items()
        if prior in set(people.patients)
    }
    given = _given(connection, project, identities, list(pairs))
    now = _given(connection, project, identities, [identities.patient_index(*one) for one in pairs.values()])
    named = []
    for index, subject in given.items():
        survivor = pairs[index]
        taker = now.get(identities.patient_index(*survivor), identities.derived(*survivor))
        named.append([subject.pseudonym, taker.pseudonym])
    return sorted(named)


def give(connection: Connection, identities: Identities, project: str, release_id: int, people: People) -> set[Patient]:
    """Give each patient a subject, once and for ever, and freeze which is whose in this release.

    Returns:
        Patients whose pseudonym another patient has already (one in 10^9 for a project of 1,000 patients); they have
        no subject, so what shows them is held.
    """
    patients = people.patients
    survivors = sorted({people.survivor(patient) for patient in patients})
    rows = []
    for survivor in survivors:
        derived = identities.derived(*survivor)
        index = identities.patient_index(*survivor)
        rows.append((project, identities.key_id, index, derived.pseudonym, derived.shift_days))
    columns = ("project", "key_id", "patient_index", "pseudonym", "shift_days")
    _insert(connection, "subject", columns, sorted(rows, key=lambda row: row[2]))
    indexes = [(identities.patient_index(*one), identities.patient_index(*people.survivor(one))) for one in patients]
    subject_ids = {
        bytes(row["patient_index"]): row["subject_id"]
        for row in select(
            connection,
            "select patient_index, subject_id from subject "
            "where project = %s and key_id = %s and patient_index = any(%s)",
            (project, identities.key_id, [index for _, index in indexes]),
        )
    }
    frozen = [(release_id, own, subject_ids[taken]) for own, taken in indexes if taken in subject_ids]
    _insert(connection, "release_subject", ("release_id", "patient_index", "subject_id"), frozen)
    return {one for one, (_, taken) in zip(patients, indexes, strict=True) if taken not in subject_ids}


def subjects_of(connection: Connection, release_id: int) -> dict[bytes, Subject]:
    """What the patients of a release were given, by index."""
    rows = select(
        connection,
        "select r.patient_index, s.pseudonym, s.shift_days from release_subject r join subject s using (subject_id) "
        "where r.release_id = %s",
        (release_id,),
    )
    return {bytes(row["patient_index"]): Subject(row["pseudonym"], row["shift_days"]) for row in rows}


def _given(connection: Connection, project: str, identities: Identities, indexes: list[bytes]) -> dict[bytes, Subject]:
    rows = select(
        connection,
        "select patient_index, pseudonym, shift_days from subject "
        "where project = %s and key_id = %s and patient_index = any(%s)",
        (project, identities.key_id, indexes),
    )
    return {bytes(row["patient_index"]): Subject(row["pseudonym"], row["shift_days"]) for row in rows}


def _insert(connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Rows by COPY over a staging table; what is there already, by whichever key, stays."""
    names = ", ".join(columns)
    with connection.cursor() as cursor:
        cursor.execute(f"create temporary table staged on commit drop as select {names} from {table} with no data")
        copy_lines(connection, "staged", columns, [copy_line(row) for row in rows])
        cursor.execute(f"insert into {table} ({names}) select {names} from staged on conflict do nothing")
        cursor.execute("drop table staged")
