"""The archive: received DICOM files on disk, written so that what is acknowledged survives a power cut.

`<study>/<series>/<sop>.dcm` below the root, from UIDs that are digits and dots, so no name can lead outside.
Files on their way are in `.incoming`, a second content of a known instance in `.conflicts`, and what cannot be
placed in `.quarantine`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

IMPLEMENTATION_CLASS_UID = "2.25.279684532094105862437310920756419371043"
IMPLEMENTATION_VERSION = "SLUICE"  # no number: the same dataset always makes the same file
MOST_REMEMBERED = 10_000  # folders known to be durable
HEAD_IN_CACHE = 1 << 16  # bytes of each file that stay in the page cache for who reads headers
PIECE_TO_DISK = 1 << 22  # the disk begins with a large file when so many bytes more of it have come
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT)


class ArchiveError(RuntimeError):
    """The archive cannot be written; the message says what to do."""


@dataclass(frozen=True)
class Identity:
    """The UIDs that say what an object is and where it belongs; all of them checked before they come here."""

    sop_class: str
    sop_instance: str
    study: str
    series: str


@dataclass(frozen=True)
class Kept:
    """A file in the archive.

    Attributes:
        path: relative to the archive root.
        bytes, sha256: of the whole file.
        outcome: `new`; `same` when that very file was there already; `other` when a file with other content holds
            the instance's place, and this one was set aside.
    """

    path: str
    bytes: int
    sha256: str
    outcome: str


class Archive:
    """The archive below one root.

    Args:
        root: its folder; made where it is missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.incoming = root / ".incoming"
        # as text: objects come by the hundred a second, and a Path costs more than the call that it is for
        self._root, self._incoming = str(root), str(self.incoming)
        self._durable: set[str] = set()

    def prepare(self) -> None:
        """Make the folders and remove what a killed process left half written; none of it was acknowledged.

        What somebody still writes is locked, and left alone.

        Raises:
            ArchiveError: the folder cannot be made or written.
        """
        try:
            self.incoming.mkdir(parents=True, exist_ok=True)
            for left in self.incoming.iterdir():
                _remove_unless_locked(left)
            self.begin().discard()
        except OSError as error:
            raise ArchiveError(
                f"The archive {self.root} cannot be written ({error.strerror}). Check SLUICE_HOME and its permissions."
            ) from error

    def free_bytes(self) -> int:
        """Free space of the file system that holds the archive."""
        return shutil.disk_usage(self.root).free

    def begin(self, meta: bytes = b"") -> Incoming:
        """A file on its way: write into it, then `place` or `quarantine` it; leaving its context removes what is left.

        Args:
            meta: `file_meta` that the dataset follows; empty for bytes that will not become a DICOM file.

        Raises:
            OSError: the disk is full or broken; nothing is left behind.
        """
        return Incoming(f"{self._incoming}/{os.urandom(16).hex()}", meta)

    def place(self, identity: Identity, incoming: Incoming) -> Kept:
        """Give what was written its place; `make_durable` has to follow.

        Raises:
            OSError: the disk is full or broken; nothing is left behind.
        """
        path = f"{identity.study}/{identity.series}/{identity.sop_instance}.dcm"
        final = f"{self._root}/{path}"
        folder = os.path.dirname(final)
        self._make_folders(folder)
        while not _linked(incoming.path, final):
            outcome = _same_or_other(final, incoming.sha256)
            if outcome == "same":
                return Kept(path, incoming.bytes, incoming.sha256, outcome)
            if outcome == "other":
                aside = self._aside(identity.sop_instance, incoming.sha256, incoming.path)
                incoming.sync()
                _sync_folder(os.path.dirname(aside))
                return Kept(self._relative(aside), incoming.bytes, incoming.sha256, outcome)
        # nobody but us takes the file for what it is to be before it is durable, because it is locked
        incoming.forget_name()
        return Kept(path, incoming.bytes, incoming.sha256, "new")

    def make_durable(self, kept: Kept, incoming: Incoming) -> None:
        """When this returns, what `place` placed survives a crash, its name and its bytes. What was there already, or
        was set aside, does so before.

        Raises:
            OSError: the disk is full or broken; nothing is left behind.
        """
        if kept.outcome != "new":
            return
        final = f"{self._root}/{kept.path}"
        try:
            incoming.sync()
            _sync_folder(os.path.dirname(final))
        except OSError:
            _remove(final)
            raise

    def set_aside(self, sop_instance: str, kept: Kept) -> Kept:
        """Move a file that turned out to contradict the ledger out of the instance's place."""
        source = f"{self._root}/{kept.path}"
        target = self._aside(sop_instance, kept.sha256, source)
        _remove(source)
        _sync_folder(os.path.dirname(target))
        return Kept(self._relative(target), kept.bytes, kept.sha256, "other")

    @contextmanager
    def contested(self, sop_instance: str) -> Iterator[None]:
        """While one of an instance's contents that were set aside is judged, no process judges another."""
        descriptor = os.open(f"{self._root}/.conflicts/{sop_instance}", os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def replace(self, identity: Identity, aside: Kept) -> Kept:
        """Put a file that was set aside in the place of one that nobody ever acknowledged."""
        path = f"{identity.study}/{identity.series}/{identity.sop_instance}.dcm"
        final = f"{self._root}/{path}"
        os.replace(f"{self._root}/{aside.path}", final)
        _sync_folder(os.path.dirname(final))
        return Kept(path, aside.bytes, aside.sha256, "new")

    def quarantine(self, incoming: Incoming) -> Kept:
        """Keep bytes that cannot be placed, named by their digest."""
        path = f".quarantine/{incoming.sha256}.dcm"
        folder = f"{self._root}/.quarantine"
        self._make_folders(folder)
        os.replace(incoming.path, f"{self._root}/{path}")
        incoming.sync()
        _sync_folder(folder)
        return Kept(path, incoming.bytes, incoming.sha256, "new")

    def _aside(self, sop_instance: str, digest: str, source: str) -> str:
        target = f"{self._root}/.conflicts/{sop_instance}/{digest}.dcm"
        self._make_folders(os.path.dirname(target))
        try:
            _linked(source, target)  # or it came a third time
        except FileNotFoundError:
            if not os.path.exists(target):  # else another association with the same was quicker
                raise
        return target

    def _make_folders(self, folder: str) -> None:
        """Like mkdir -p, each folder's name durable in its parent.

        One that is there already may have been made a moment ago by a process that has not got to its fsync, so each
        process makes sure of each folder once.
        """
        if folder == self._root or (folder in self._durable and os.path.isdir(folder)):
            return
        parent = os.path.dirname(folder)
        self._make_folders(parent)
        try:
            os.mkdir(folder)
        except FileExistsError:
            pass
        _sync_folder(parent)
        if len(self._durable) >= MOST_REMEMBERED:
            self._durable.clear()
        self._durable.add(folder)

    def _relative(self, path: str) -> str:
        return path.removeprefix(f"{self._root}/")


class Incoming:
    """A file that is being received, in `.incoming`; made by `Archive.begin`.

    Its SHA-256 is computed as the bytes come, so nothing is read a second time. It is locked until it is discarded, by
    whatever name it is known by then. A context manager: at the end whatever was not kept is gone.

    Attributes:
        path: where it is for now.
        bytes: written so far, file meta information included.
        dataset_at: where in the file the dataset begins.
    """

    def __init__(self, path: str, meta: bytes) -> None:
        self.path = path
        self._named = True
        self.bytes = 0
        self.dataset_at = len(meta)
        self._digest = hashlib.sha256()
        self._descriptor = _created(path)
        self._sent_to_disk = HEAD_IN_CACHE
        try:
            self.write(meta)
        except OSError:
            self.discard()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes.

        Raises:
            OSError: the disk is full or broken; the file is of no use any more.
        """
        view = memoryview(data)
        written = os.write(self._descriptor, view) if view else 0
        while written < len(view):
            written += os.write(self._descriptor, view[written:])
        self.bytes += len(view)
        if self.bytes - self._sent_to_disk >= PIECE_TO_DISK:
            self._leave_cache()
        self._digest.update(view)

    def _leave_cache(self) -> None:
        """Let the page cache go of what is on disk, and have the disk begin with what is not (posix_fadvise(2)).

        The header, which is read again soon, stays. Pixels are not read before a model or an export does, and a night's
        retrieval must not push out what Postgres needs; and memory that is used again at once costs less than new
        memory, in a virtual machine a third of a millisecond for each 0.1 MB.
        """
        if self.bytes > HEAD_IN_CACHE:
            os.posix_fadvise(self._descriptor, HEAD_IN_CACHE, 0, os.POSIX_FADV_DONTNEED)
            self._sent_to_disk = self.bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of all that was written, in hex."""
        return self._digest.hexdigest()

    def sync(self) -> None:
        """Make the bytes durable."""
        os.fsync(self._descriptor)
        self._leave_cache()

    def dataset(self) -> mmap.mmap | bytes:
        """What was written, mapped for reading rather than read; the dataset begins at `dataset_at`."""
        return mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ) if self.bytes else b""

    def forget_name(self) -> None:
        """Remove its name from `.incoming`; it has another one."""
        _remove(self.path)
        self._named = False

    def discard(self) -> None:
        """Close it and remove its name from `.incoming`; a file that was kept has its own name by then."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if self._named:
                self.forget_name()


def _created(path: str) -> int:
    """Descriptor of a new file, locked; made again where `prepare` of another process was quicker than the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except OSError:
            _remove(path)
            os.close(descriptor)
            raise
        os.close(descriptor)


def file_meta(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Preamble, prefix and File Meta Information (PS3.10 7.1), Explicit VR Little Endian."""

    def element(number: int, vr: bytes, value: bytes) -> bytes:
        if len(value) % 2:
            value += b" " if vr == b"SH" else b"\0"
        if vr == b"OB":
            return struct.pack("<HH2sHI", 2, number, vr, 0, len(value)) + value
        return struct.pack("<HH2sH", 2, number, vr, len(value)) + value

    body = b"".join(
        (
            element(0x01, b"OB", b"\0\1"),
            element(0x02, b"UI", sop_class.encode()),
            element(0x03, b"UI", sop_instance.encode()),
            element(0x10, b"UI", transfer_syntax.encode()),
            element(0x12, b"UI", IMPLEMENTATION_CLASS_UID.encode()),
            element(0x13, b"SH", IMPLEMENTATION_VERSION.encode()),
        )
    )
    return bytes(128) + b"DICM" + element(0x00, b"UL", struct.pack("<I", len(body))) + body


def _linked(path: str, final: str) -> bool:
    """Give a file a second name; False when that is taken. Unlike a rename it never replaces what is there."""
    try:
        os.link(path, final)
    except FileExistsError:
        return False
    return True


def _same_or_other(final: str, digest: str) -> str | None:
    """Whether a kept file has this SHA-256, once who wrote it is done with it; None when it is gone again.

    What is `same` is made durable here: who wrote it first may have been killed before it was.
    """
    try:
        with open(final, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return "other" if os.path.exists(final) else None
            os.fsync(file.fileno())
            _sync_folder(os.path.dirname(final))
            return "same" if os.path.exists(final) else None
    except FileNotFoundError:
        return None


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _remove_unless_locked(path: Path) -> None:
    """Remove a file of `.incoming` that no process, in whichever container, holds open any more."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
