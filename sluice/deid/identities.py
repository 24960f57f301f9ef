"""Pseudonyms, UIDs and date shifts of one project: the same in every worker, in any order, next year.

Everything follows from the project's 256-bit key by HMAC-SHA256 under sub-keys derived with HKDF (RFC 5869), so two
workers that never met agree. What a patient got at first is kept beside it (`sluice.release.linkage`): a later change
of options moves nothing that was published. Where the key lies is a matter of `sluice.release.linkage.keys`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sluice.deid.held import Held

KEY_BYTES = 32
SHORTEST_SHIFT, LONGEST_SHIFT = 365, 1825  # days into the past
WEEK = 7
OLDEST_AGE_YEARS = 89  # HIPAA Safe Harbor, 45 CFR 164.514(b)(2)(i)(C): older ones become one class
PSEUDONYM_LENGTH = 10  # base32 characters: 50 bits
INDEX_BYTES = 16
DERIVATION = 1  # how identities follow from a key; each key says by which it is used, for ever
NO_PATIENT = frozenset({
    "", "0", "?", "NONE", "NULL", "NIL", "N/A", "NA", "UNKNOWN", "UNKNOWN PATIENT", "UNIDENTIFIED", "UNBEKANNT", "ANON",
    "ANONYMOUS", "ANONYMIZED", "ANONYM", "NOID", "NO ID", "NO_ID", "NOT AVAILABLE", "TEST", "DUMMY",
})  # fmt: skip
NOBODY = re.compile(r"(?:0+|9{5,}|X{2,}|[^\w]+|_+)", re.IGNORECASE)  # as devices fill a field that must be filled
DATE = re.compile(
    r"(\d{4})[.]?(\d{2})[.]?(\d{2})"
    r"((?:(?:[01]\d|2[0-3])(?:[0-5]\d(?:(?:[0-5]\d|60)(?:\.\d{1,6})?)?)?)?(?:[+-](?:0\d|1[0-4])[0-5]\d)?)",
    re.ASCII,
)


@dataclass(frozen=True)
class Subject:
    """What a patient is in a project.

    Attributes:
        pseudonym: `PREFIX-` and 10 base32 characters.
        shift_days: whole days to add to each of the patient's dates.
    """

    pseudonym: str
    shift_days: int


def hkdf(key: bytes, label: str, length: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869) without salt."""
    return HKDF(SHA256(), length, salt=None, info=label.encode()).derive(key)


def fingerprint(key: bytes) -> str:
    """What a key may be called by in the open, 16 hex digits: it tells nothing of the key or what follows."""
    return hashlib.sha256(hkdf(key, "sluice key id")).hexdigest()[:16]


class Identities:
    """Identities that one project gives.

    Args:
        key: the project's key, 32 bytes.
        prefix: of pseudonyms, e.g. `RAD`.
        whole_weeks: shift by multiples of 7 days, so that weekdays stay.
        subjects: by `patient_index`, what patients were given already. Where it is there nobody else has an identity.
    """

    def __init__(
        self, key: bytes, prefix: str, whole_weeks: bool = False, subjects: Mapping[bytes, Subject] | None = None
    ) -> None:
        self.prefix = prefix
        self.whole_weeks = whole_weeks
        self.subjects = subjects
        self._key = key
        self._keys = {label: hkdf(key, f"sluice {label}") for label in ("uid", "patient", "accession", "date", "index")}
        self.key_id = fingerprint(key)

    def __repr__(self) -> str:
        """Never the key."""
        return f"Identities({self.prefix}, key {self.key_id})"

    def knowing(self, subjects: Mapping[bytes, Subject]) -> Self:
        """The same, for these patients only, as they were given."""
        return type(self)(self._key, self.prefix, self.whole_weeks, subjects)

    def sub_key(self, label: str) -> bytes:
        """A key of its own for another use of the project's secrets, e.g. `linkage`."""
        if label in self._keys:
            raise ValueError(f"{label} is in use")
        return hkdf(self._key, f"sluice {label}")

    def uid(self, original: str) -> str:
        """A UID under 2.25 (PS3.5 B.2) that stands for `original` in this project."""
        digest = hmac.digest(self._keys["uid"], original.strip(" \0").encode(), "sha256")
        return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"

    def patient(self, patient_id: str, issuer: str = "") -> str:
        """Pseudonym of a patient: `PREFIX-` and 10 base32 characters.

        Raises:
            Held: identities are those of certain patients, and this is none of them.
        """
        return self.subject(patient_id, issuer).pseudonym

    def shift_days(self, patient_id: str, issuer: str = "") -> int:
        """Whole days to add to every date of this patient: between -1825 and -365, so intervals stay.

        Raises:
            Held: as `patient`.
        """
        return self.subject(patient_id, issuer).shift_days

    def accession(self, number: str) -> str:
        """Pseudonym of an accession number, within the 16 characters of SH."""
        return f"A{self._letters('accession', number.strip())}"

    def patient_index(self, patient_id: str, issuer: str = "") -> bytes:
        """What a patient is found by: equal for the same patient, and without the key of no meaning; 16 bytes."""
        text = canonical_patient(patient_id, issuer).encode()
        return hmac.digest(self._keys["index"], text, "sha256")[:INDEX_BYTES]

    def subject(self, patient_id: str, issuer: str = "") -> Subject:
        """What the patient was given, or what follows from the key.

        Raises:
            Held: as `patient`.
        """
        if self.subjects is None:
            return self.derived(patient_id, issuer)
        given = self.subjects.get(self.patient_index(patient_id, issuer))
        if given is None:
            raise Held("held-identity", "the file names another patient or issuer than its header in the database")
        return given

    def derived(self, patient_id: str, issuer: str = "") -> Subject:
        """What follows from the key for this patient."""
        text = canonical_patient(patient_id, issuer)
        number = int.from_bytes(hmac.digest(self._keys["date"], text.encode(), "sha256")[:8], "big")
        shift = SHORTEST_SHIFT + number % (LONGEST_SHIFT - SHORTEST_SHIFT + 1)
        if self.whole_weeks:
            fewest, most = -(-SHORTEST_SHIFT // WEEK), LONGEST_SHIFT // WEEK
            shift = WEEK * (fewest + number % (most - fewest + 1))
        return Subject(f"{self.prefix}-{self._letters('patient', text)}", -shift)

    def _letters(self, label: str, text: str) -> str:
        digest = hmac.digest(self._keys[label], text.encode(), "sha256")
        return base64.b32encode(digest).decode()[:PSEUDONYM_LENGTH]


def canonical_patient(patient_id: str, issuer: str = "") -> str:
    """The text that names a patient: NFC, trimmed, with its issuer; without meaning for anyone else."""
    parts = (unicodedata.normalize("NFC", part).strip(" \0") for part in (issuer, patient_id))
    return "\x1f".join(parts)


def is_patient(patient_id: str | None) -> bool:
    """Whether a Patient ID names somebody: neither empty nor a placeholder."""
    text = (patient_id or "").strip(" \0").upper()
    return text not in NO_PATIENT and not NOBODY.fullmatch(text)


def shift_date(value: str, days: int) -> str | None:
    """A DA or DT value with its date moved by whole days; None where it holds no full date.

    The time of day and the UTC offset of a DT stay, so midnight is crossed nowhere. A year or a month alone cannot be
    moved by days: left as it is it would be the true one, so it goes.
    """
    match = DATE.fullmatch(value.strip(" \0"))
    if not match:
        return None
    try:
        moved = date(int(match[1]), int(match[2]), int(match[3])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04d}{moved:%m%d}{match[4]}"


def cap_age(value: str) -> str | None:
    """An AS value with ages above 89 years as `090Y`; None where it is no age."""
    match = re.fullmatch(r"(\d{3})([DWMY])", value.strip(" \0"), re.ASCII)
    if not match:
        return None
    years = int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[match[2]]
    return "090Y" if years >= OLDEST_AGE_YEARS + 1 else match[0]
