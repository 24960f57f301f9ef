"""Pseudonyms, UIDs and date shifts of one project: the same in every worker, in any order, next year.

Everything follows from the project's 256-bit key by HMAC-SHA256 under sub-keys derived with HKDF (RFC 5869).
There is no table to lose: who has no key cannot go back, and who has it needs nothing else. The key is a file
of mode 0600 in `settings().keys`; it never enters the database, a log or a task's result.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import unicodedata
import uuid
from datetime import date, timedelta
from pathlib import Path

KEY_BYTES = 32
SHORTEST_SHIFT, LONGEST_SHIFT = 365, 1825  # days into the past
OLDEST_AGE_YEARS = 89  # HIPAA Safe Harbor, 45 CFR 164.514(b)(2)(i)(C): older ones become one class
PSEUDONYM_LENGTH = 10  # base32 characters: 50 bits
NO_PATIENT = frozenset({"", "0", "NONE", "NULL", "N/A", "NA", "UNKNOWN", "ANON", "ANONYMOUS", "ANONYMIZED", "?"})


class ProjectKeyError(RuntimeError):
    """The project's key cannot be used; the message says what to do."""


def project_key(folder: Path, project: str) -> bytes:
    """The project's key, generated the first time it is asked for.

    Two workers that ask at once agree on one key: the file is linked into place, and the first link wins.

    Raises:
        ProjectKeyError: the file is readable by others, damaged, or the folder cannot be written.
    """
    path = folder / f"{project}.key"
    try:
        if not path.exists():
            _generate(path)
        if path.stat().st_mode & 0o077:
            raise ProjectKeyError(f"The key of project {project!r} is open to others. Run: chmod 600 {path}")
        key = path.read_bytes()
    except OSError as error:
        raise ProjectKeyError(
            f"The key of project {project!r} cannot be used ({error.strerror}: {path}). "
            "Make the folder writable for this user, or restore the key from its backup."
        ) from error
    if len(key) != KEY_BYTES:
        raise ProjectKeyError(
            f"The key of project {project!r} has {len(key)} bytes instead of {KEY_BYTES}. Restore {path}."
        )
    return key


def _generate(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
    finally:
        temporary.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def hkdf(key: bytes, label: str, length: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869) without salt."""
    extracted = hmac.digest(b"\0" * 32, key, "sha256")
    block, out, counter = b"", b"", 1
    while len(out) < length:
        block = hmac.digest(extracted, block + label.encode() + bytes([counter]), "sha256")
        out += block
        counter += 1
    return out[:length]


class Identities:
    """Identities that one project gives.

    Args:
        key: the project's key, 32 bytes.
        prefix: of pseudonyms, e.g. `RAD`.
    """

    def __init__(self, key: bytes, prefix: str) -> None:
        self.prefix = prefix
        self._keys = {label: hkdf(key, f"sluice {label}") for label in ("uid", "patient", "accession", "date")}
        self.key_id = hashlib.sha256(hkdf(key, "sluice key id")).hexdigest()[:16]

    def uid(self, original: str) -> str:
        """A UID under 2.25 (PS3.5 B.2) that stands for `original` in this project."""
        digest = hmac.digest(self._keys["uid"], original.strip(" \0").encode(), "sha256")
        return f"2.25.{uuid.UUID(bytes=digest[:16], version=4).int}"

    def patient(self, patient_id: str, issuer: str = "") -> str:
        """Pseudonym of a patient: `PREFIX-` and 10 base32 characters."""
        return f"{self.prefix}-{self._letters('patient', canonical_patient(patient_id, issuer))}"

    def accession(self, number: str) -> str:
        """Pseudonym of an accession number, within the 16 characters of SH."""
        return f"A{self._letters('accession', number.strip())}"

    def shift_days(self, patient_id: str, issuer: str = "") -> int:
        """Whole days to add to every date of this patient: between -1825 and -365, so intervals stay."""
        digest = hmac.digest(self._keys["date"], canonical_patient(patient_id, issuer).encode(), "sha256")
        return -(SHORTEST_SHIFT + int.from_bytes(digest[:8], "big") % (LONGEST_SHIFT - SHORTEST_SHIFT + 1))

    def _letters(self, label: str, text: str) -> str:
        digest = hmac.digest(self._keys[label], text.encode(), "sha256")
        return base64.b32encode(digest).decode()[:PSEUDONYM_LENGTH]


def canonical_patient(patient_id: str, issuer: str = "") -> str:
    """The text that names a patient: NFC, trimmed, with its issuer; without meaning for anyone else."""
    parts = (unicodedata.normalize("NFC", part).strip(" \0") for part in (issuer, patient_id))
    return "\x1f".join(parts)


def is_patient(patient_id: str | None) -> bool:
    """Whether a Patient ID names somebody: neither empty nor a placeholder."""
    return (patient_id or "").strip(" \0").upper() not in NO_PATIENT


def shift_date(value: str, days: int) -> str | None:
    """A DA or DT value with its date moved by whole days; None where it holds no full date.

    The time of day and the UTC offset of a DT stay, so midnight is crossed nowhere.
    """
    match = re.fullmatch(
        r"(\d{4})[.]?(\d{2})[.]?(\d{2})((?:\d{2}){0,3}(?:\.\d{1,6})?(?:[+-]\d{4})?)", value.strip(" \0")
    )
    if not match:
        return None
    try:
        moved = date(int(match[1]), int(match[2]), int(match[3])) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04d}{moved:%m%d}{match[4]}"


def cap_age(value: str) -> str | None:
    """An AS value with ages above 89 years as `090Y`; None where it is no age."""
    match = re.fullmatch(r"(\d{3})([DWMY])", value.strip(" \0"))
    if not match:
        return None
    years = int(match[1]) / {"D": 365.25, "W": 52.18, "M": 12, "Y": 1}[match[2]]
    return "090Y" if years >= OLDEST_AGE_YEARS + 1 else match[0]
