"""The projects' keys: made once, never changed, never replaced without a word, and never in the database.

A key is one line of text that a person can print and lock away:

    sluice-key <derivation> <project> <number> <made on> <64 hex digits> <fingerprint>

It comes from a folder (a file for each key, mode 0600), from one mounted file with the lines of several projects
(SLUICE_KEYS_FILE), or from a text that a secrets backend gave (`operators.connections.keys`). A file of 32 bytes, as
they were made before keys had numbers, is the project's first key.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol

from sluice.deid.identities import DERIVATION, KEY_BYTES, fingerprint
from sluice.settings import settings

OTHERS, STRANGERS = 0o077, 0o007  # who must not read: group and world, or the world where a mount sets the group
LINE = re.compile(r"sluice-key (\d+) ([a-z0-9-]+) (\d+) (\d{4}-\d\d-\d\d) ([0-9a-f]{64}) ([0-9a-f]{16})")
HEADING = (
    "# The key of a project of Sluice. Who has it can tell which patient a pseudonym stands for: keep it like a\n"
    "# patient's record. Lost, it cannot be made again: keep a copy in another place.\n"
)


class ProjectKeyError(RuntimeError):
    """The project's key cannot be used; the message says what to do."""


@dataclass(frozen=True)
class ProjectKey:
    """One key of a project.

    Attributes:
        number: 1 is the project's first; a higher one took its place.
        derivation: how identities follow from it.
        made_on: the day it was made; None for those that do not say.
    """

    project: str
    number: int
    secret: bytes = field(repr=False)
    derivation: int = DERIVATION
    made_on: date | None = None

    @cached_property
    def key_id(self) -> str:
        """Its fingerprint, which may be shown."""
        return fingerprint(self.secret)

    def line(self) -> str:
        """The key as it is kept."""
        made_on = (self.made_on or datetime.now(UTC).date()).isoformat()
        return f"sluice-key {self.derivation} {self.project} {self.number} {made_on} {self.secret.hex()} {self.key_id}"


@dataclass(frozen=True)
class Keyring:
    """A project's keys, by number.

    Attributes:
        where: they were found, as a person may be told.
    """

    project: str
    where: str
    keys: tuple[ProjectKey, ...]

    @property
    def newest(self) -> ProjectKey | None:
        """The one that new versions are made with."""
        return self.keys[-1] if self.keys else None

    def by_id(self, key_id: str) -> ProjectKey | None:
        """The key of this fingerprint."""
        return next((key for key in self.keys if key.key_id == key_id), None)


class KeySource(Protocol):
    """Where keys come from."""

    def ring(self, project: str) -> Keyring: ...  # noqa: D102
    def make(self, project: str, number: int) -> ProjectKey: ...  # noqa: D102


class FolderKeys:
    """Keys as files of a folder: `<project>.key`, and `<project>.<number>.key` for later ones; none ever changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ring(self, project: str) -> Keyring:
        """The keys that there are; none where there is no file.

        Raises:
            ProjectKeyError: a file is open to others, damaged, of another project, or cannot be read.
        """
        keys = {}
        try:
            for path in sorted(self.folder.glob(f"{project}.*key")):
                number = _number(path, project)
                if number is not None:
                    keys[number] = _read(path, project, number)
        except OSError as error:
            raise _unusable(project, self.folder, error) from error
        return Keyring(project, str(self.folder), tuple(keys[number] for number in sorted(keys)))

    def make(self, project: str, number: int) -> ProjectKey:
        """A new key in a new file. Two workers that make it at once agree on one: the first link wins.

        Raises:
            ProjectKeyError: the folder cannot be written.
        """
        path = self.folder / (f"{project}.key" if number == 1 else f"{project}.{number}.key")
        key = ProjectKey(project, number, secrets.token_bytes(KEY_BYTES), made_on=datetime.now(UTC).date())
        try:
            write_key(path, key)
            return _read(path, project, number)
        except OSError as error:
            raise _unusable(project, path, error) from error


class TextKeys:
    """Keys as lines of a text that somebody else keeps: a secrets backend, a mounted file.

    Args:
        where: the text comes from, as a person may be told.
    """

    def __init__(self, text: str, where: str) -> None:
        self.text = text
        self.where = where

    def ring(self, project: str) -> Keyring:
        """The project's keys among the lines.

        Raises:
            ProjectKeyError: a line is none, or two have one number.
        """
        keys: dict[int, ProjectKey] = {}
        for line in _lines(self.text):
            key = _parsed(line, self.where)
            if key.project != project:
                continue
            if keys.setdefault(key.number, key).secret != key.secret:
                raise ProjectKeyError(f"{self.where} has two keys number {key.number} of project {project!r}.")
        return Keyring(project, self.where, tuple(keys[number] for number in sorted(keys)))

    def make(self, project: str, number: int) -> ProjectKey:
        """Keys are not made where we cannot write."""
        raise ProjectKeyError(
            f"Project {project!r} has no key number {number} in {self.where}, where Sluice does not write. "
            f"Make one with: python -m sluice key make {project} --to FILE, and put its line there."
        )


def key_source(keys: Path | KeySource | None = None) -> KeySource:
    """Where keys come from: a folder or a source that is given; else as the settings say.

    Raises:
        ProjectKeyError: the mounted file is open to everybody or cannot be read.
    """
    if isinstance(keys, Path):
        return FolderKeys(keys)
    if keys is not None:
        return keys
    mounted = settings().keys_file
    return FolderKeys(settings().keys) if mounted is None else text_of(mounted)


def text_of(path: Path) -> TextKeys:
    """The keys of one mounted file.

    Raises:
        ProjectKeyError: it is open to everybody or cannot be read.
    """
    try:
        if path.stat().st_mode & STRANGERS:
            raise ProjectKeyError(f"The keys in {path} are open to everybody. Mount the file with mode 0440 or 0400.")
        return TextKeys(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ProjectKeyError(f"The keys in {path} cannot be read. Check SLUICE_KEYS_FILE and its mount.") from error


def new_key(project: str, number: int) -> ProjectKey:
    """A key for somebody who keeps it elsewhere."""
    return ProjectKey(project, number, secrets.token_bytes(KEY_BYTES), made_on=datetime.now(UTC).date())


def write_key(path: Path, key: ProjectKey) -> bool:
    """Write a key durably into a file that is not there yet; whether it was we who did.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    was_first = True
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{HEADING}{key.line()}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            was_first = False
    finally:
        temporary.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return was_first


def lacking(ring: Keyring, copy: Keyring) -> list[ProjectKey]:
    """Keys of which a copy has none, or another under the same number."""
    kept = {key.number: key.secret for key in copy.keys}
    return [key for key in ring.keys if not hmac.compare_digest(kept.get(key.number, b""), key.secret)]


def _number(path: Path, project: str) -> int | None:
    match = re.fullmatch(re.escape(project) + r"(?:\.([2-9]|[1-9]\d+))?\.key", path.name)
    return int(match[1] or 1) if match else None


def _read(path: Path, project: str, number: int) -> ProjectKey:
    if path.stat().st_mode & OTHERS:
        raise ProjectKeyError(f"The key of project {project!r} is open to others. Run: chmod 600 {path}")
    content = path.read_bytes()
    if len(content) == KEY_BYTES:
        return ProjectKey(project, number, content)
    if not content.startswith(b"#") and not content.startswith(b"sluice-key"):
        raise ProjectKeyError(
            f"The key of project {project!r} has {len(content)} bytes instead of {KEY_BYTES}. Restore {path}."
        )
    lines = _lines(content.decode("ascii", "replace"))
    key = _parsed(lines[0], str(path)) if len(lines) == 1 else None
    if key is None or (key.project, key.number) != (project, number):
        raise ProjectKeyError(
            f"{path} is not key number {number} of project {project!r}: no two projects may share a key. Restore it."
        )
    return key


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def _parsed(line: str, where: str) -> ProjectKey:
    match = LINE.fullmatch(line)
    if match is None:
        raise ProjectKeyError(f"A line of {where} is no key as `sluice key make` writes it. Restore it.")
    key = ProjectKey(match[2], int(match[3]), bytes.fromhex(match[5]), int(match[1]), date.fromisoformat(match[4]))
    if key.key_id != match[6]:
        raise ProjectKeyError(
            f"The key number {key.number} of project {key.project!r} in {where} is damaged: it does not have the "
            "fingerprint that stands beside it. Restore it."
        )
    if key.derivation != DERIVATION:
        raise ProjectKeyError(
            f"The key number {key.number} of project {key.project!r} is used by derivation {key.derivation}, which "
            f"this version of Sluice does not know (it knows {DERIVATION}). Install the version that made it, or newer."
        )
    return key


def _unusable(project: str, path: Path, error: OSError) -> ProjectKeyError:
    return ProjectKeyError(
        f"The key of project {project!r} cannot be used ({error.strerror}: {path}). "
        "Make the folder writable for this user, or restore the key from its backup."
    )
