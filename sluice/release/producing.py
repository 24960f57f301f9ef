"""Make the file that may leave of a received one: de-identify it, take out what people decided, read it again.

What comes out is a file with what the tables and the review need to know of it, or the reason why it stays here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.database import Database
from sluice.deid.conformance import new_faults
from sluice.deid.elements import File, MalformedError, read_file
from sluice.deid.engine import Deidentified, deidentify
from sluice.deid.held import Held
from sluice.deid.identities import Identities
from sluice.deid.leak_check import Claims, leaks
from sluice.deid.pixels import PixelPolicy, PixelTreatment, Screening, treatment_for
from sluice.deid.pixels.deciding import is_decided_by_file
from sluice.deid.pixels.devices import load_rules
from sluice.deid.pixels.store import screenings
from sluice.deid.profile import Profile
from sluice.deid.reread import Reread, reread
from sluice.release import canaries
from sluice.release.columns import columns_of
from sluice.release.masks import masked, masked_members
from sluice.release.projects import Project
from sluice.release.review.rules import decisions_of, without
from sluice.release.review.strings import Retained, retained
from sluice.settings import settings


@dataclass(frozen=True)
class Produced:
    """A produced file on its way to the bucket.

    Attributes:
        sop_instance_uid, source_sha256: of the received file.
        key: where it will stand; `sha256` is of `data`.
        columns: what the tables say of it.
        strings, struck: text that the profile left, and what of it people took out.
    """

    sop_instance_uid: str
    key: str
    data: bytes
    sha256: str
    source_sha256: str
    columns: dict[str, Any]
    strings: tuple[Retained, ...]
    struck: tuple[Retained, ...]


@dataclass(frozen=True)
class Withheld:
    """Why a file stays here.

    Attributes:
        strings: text that the profile left, where a person's decision about it is the reason; else None.
    """

    sop_instance_uid: str
    reason_code: str
    detail: str | None
    strings: tuple[Retained, ...] | None


class Producer:
    """Makes the files of one release, as one process does it.

    Args:
        members: SOP Instance UIDs of those that it will be asked for.
    """

    def __init__(
        self,
        database: Database,
        archive: Path,
        project: Project,
        identities: Identities,
        release: dict[str, Any],
        members: Iterable[str],
    ) -> None:
        self._archive = archive
        self._profile: Profile = project.deid_profile()
        self._pixels: PixelPolicy = project.pixels
        self._device_rules = load_rules(settings().device_rules) if project.pixels.screens else ()
        self._identities = identities
        self._prefix: str = release["prefix"]
        with database.transaction() as connection:
            self._decisions = decisions_of(connection, release["project"])
            self._screenings: dict[str, Screening] = screenings(connection, list(members), self._pixels)
        self._watch = canaries.watch_of(database, release["release_id"])
        self._masked = masked_members(database, release["release_id"])

    @property
    def decided_by_file(self) -> list[str]:
        """Members that what an earlier version holds of them may be named again for."""
        return [
            uid
            for uid, screened in self._screenings.items()
            if uid not in self._masked and is_decided_by_file(self._pixels, screened)
        ]

    def produce(self, member: dict[str, Any]) -> Produced | Withheld:
        """The file of a member, or why it stays here.

        Args:
            member: `sop_instance_uid`, `path`, `sha256` as received, `known` identifiers of its patient.
        """
        seen: list[Retained] = []
        try:
            made = self._produce(member, seen)
            if self._watch.marked(made.data):
                raise Held("held-residual", "a token of a synthetic patient is in this patient's file")
        except Held as reason:
            strings = tuple(seen) if reason.reason_code == "held-review" else None
            return Withheld(member["sop_instance_uid"], reason.reason_code, reason.detail, strings)
        return made

    def produce_canary(self, member: dict[str, Any]) -> Produced:
        """A synthetic patient's file, made as a member's is; it is black, so its pixels need no looking at.

        Raises:
            Held: it stays here.
        """
        self._screenings[member["sop_instance_uid"]] = Screening(True, (), None, canaries.REGION)
        return self._produce(member, [])

    def _produce(self, member: dict[str, Any], seen: list[Retained]) -> Produced:
        original = self._original(member)
        try:
            file, treatment = self._read(member["sop_instance_uid"], original)
            result = deidentify(file, self._profile, self._identities, treatment)
            claims = Claims(result.shift_days, tuple(code for code, _ in result.codes))
            data, after, strings, struck = self._as_decided(member["sop_instance_uid"], result, seen)
            before = reread(original)
            found = leaks(before, after, data, claims, member["known"])
            faults = new_faults(before, after)
            columns = columns_of(after)
        except Held:
            raise
        except Exception as error:  # a fault of ours must hold the file, not let it pass
            raise Held("held-unreadable", f"fault of the engine: {type(error).__name__}") from error
        if found:
            places = sorted({f"{finding.kind} {finding.where}" for finding in found})
            raise Held("held-residual", "; ".join(places)[:500])
        if faults:
            raise Held("held-conformance", "; ".join(map(str, faults))[:500])
        key = f"{self._prefix}dicom/{result.patient}/{result.study}/{result.series}/{result.sop_instance}.dcm"
        digest = hashlib.sha256(data).hexdigest()
        return Produced(member["sop_instance_uid"], key, data, digest, member["sha256"], columns, strings, struck)

    def _original(self, member: dict[str, Any]) -> bytes:
        try:
            original: bytes = (self._archive / member["path"]).read_bytes()
        except OSError as error:
            raise Held("held-unreadable", f"not in the archive: {error.strerror}") from error
        if hashlib.sha256(original).hexdigest() != member["sha256"]:
            raise Held("held-unreadable", "the file in the archive is not the one that was received")
        return original

    def _read(self, uid: str, original: bytes) -> tuple[File, PixelTreatment]:
        try:
            file = read_file(original)
        except MalformedError as error:
            raise Held("held-unreadable", f"cannot be read: {error}") from error
        return file, treatment_for(file, self._pixels, self._screenings.get(uid), self._device_rules)

    def _as_decided(
        self, uid: str, result: Deidentified, seen: list[Retained]
    ) -> tuple[bytes, Reread, tuple[Retained, ...], tuple[Retained, ...]]:
        """The file without the strings that people took out, read anew, the strings before that, and those."""
        data, file = result.data, reread(result.data)
        if uid in self._masked:
            data, file = masked(data, file, result.patient)
        strings = retained(file, result.patient)
        seen.extend(strings)
        struck = tuple(self._decisions.check(strings))
        if not struck:
            return data, file, strings, struck
        data = without(data, file, struck)
        return data, reread(data), strings, struck
