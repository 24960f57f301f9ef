"""The files below a folder and inside ZIPs, found without trusting a name, a link or a size.

Nothing is unpacked to disk by its name: what a ZIP calls its members is only ever shown.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from sluice.archive.elements import Buffer
from sluice.archive.part10 import NotTaken

HEAD_BYTES = 1 << 10
IN_MEMORY_BYTES = 8 << 20  # larger ones are mapped; a ZIP's member is then unpacked into a file without a name
PIECE_BYTES = 1 << 20
ZIP_MAGIC = (b"PK\3\4", b"PK\5\6")
MOST_RATIO = 200  # a ZIP may unpack to so many times its size …
FREE_BYTES = 1 << 30  # … or to so much, whatever its size; empty images shrink a thousandfold
MOST_MEMBERS = 1_000_000
UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, struct.error, RuntimeError)


class Found(Protocol):
    """A file that may be an image.

    Attributes:
        name: its path below the root that was named; `archive.zip!/inner/path` inside a ZIP. To be shown, not opened.
    """

    @property
    def name(self) -> str:
        """What it is called."""

    def head(self) -> bytes:
        """Its first kilobyte.

        Raises:
            OSError, NotTaken: it cannot be read.
        """

    def content(self) -> AbstractContextManager[Buffer]:
        """All its bytes, mapped where there are many.

        Raises:
            OSError, NotTaken: it cannot be read.
        """

    def members(self) -> Iterator[Found]:
        """The files in it, where it is a ZIP; see `is_zip`.

        Raises:
            OSError, NotTaken: it cannot be read, or unpacks to too much.
        """


def is_zip(head: bytes) -> bool:
    """Whether a file that is no DICOM is a ZIP, by how it begins."""
    return head[:4] in ZIP_MAGIC


def found_below(root: Path) -> Iterator[Found]:
    """The files below a folder in the order of their names, or the one file.

    Links are followed, but no folder is entered twice. What is no file (a socket, a device) is never opened.

    Raises:
        OSError: the root is not there.
    """
    if not stat.S_ISDIR(root.stat().st_mode):
        yield FileOnDisk(root, root.name)
        return
    entered: set[tuple[int, int]] = set()
    folders = [(root, "")]
    while folders:
        folder, name = folders.pop()
        try:
            there = folder.stat()
            if (there.st_dev, there.st_ino) in entered:
                continue
            entered.add((there.st_dev, there.st_ino))
            entries = sorted(folder.iterdir())
        except OSError:
            yield Unreadable(name, "the folder cannot be read")
            continue
        inner = []
        for entry in entries:
            below = f"{name}{entry.name}"
            if entry.is_dir():
                inner.append((entry, f"{below}/"))
            else:
                yield FileOnDisk(entry, below)
        folders += reversed(inner)


@dataclass(frozen=True)
class Unreadable:
    """Something that cannot be looked into."""

    name: str
    why: str

    def head(self) -> bytes:
        """Never succeeds."""
        raise NotTaken("unreadable-file", self.why)

    def content(self) -> AbstractContextManager[Buffer]:
        """Never succeeds."""
        raise NotTaken("unreadable-file", self.why)

    def members(self) -> Iterator[Found]:
        """Has none."""
        return iter(())


@dataclass(frozen=True)
class FileOnDisk:
    """A file of a folder."""

    path: Path
    name: str

    def head(self) -> bytes:
        """Its first kilobyte."""
        with self._opened() as descriptor:
            return os.pread(descriptor, HEAD_BYTES, 0)

    @contextmanager
    def content(self) -> Iterator[Buffer]:
        """All its bytes."""
        with self._opened() as descriptor:
            size = os.fstat(descriptor).st_size
            if size <= IN_MEMORY_BYTES:
                yield os.pread(descriptor, size, 0)
                return
            with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as data:
                yield data

    def members(self) -> Iterator[Found]:
        """The files in this ZIP, and in the ZIPs in it."""
        return _members(self.path.open("rb"), self.name, 0)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        # without waiting for a writer, should it have become a pipe
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotTaken("not-dicom", "no file but a socket, pipe or device")
            yield descriptor
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Member:
    """A file in a ZIP; keeps the ZIP open as long as it is needed itself."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    name: str
    depth: int

    def head(self) -> bytes:
        """Its first kilobyte."""
        with self._opened() as stream:
            return stream.read(HEAD_BYTES)

    @contextmanager
    def content(self) -> Iterator[Buffer]:
        """All its bytes, checked against the ZIP's checksum."""
        if self.info.file_size <= IN_MEMORY_BYTES:
            with self._opened() as stream:
                data = stream.read()
            yield data
            return
        with self._unpacked() as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield mapped

    def members(self) -> Iterator[Found]:
        """The files in this ZIP within a ZIP. One inside it again is not opened."""
        if self.depth:
            raise NotTaken("not-dicom", "a ZIP in a ZIP in a ZIP is not opened")
        return _members(self._unpacked(), self.name, 1)

    def _unpacked(self) -> IO[bytes]:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asked closes it
        with self._opened() as stream:
            while piece := stream.read(PIECE_BYTES):
                file.write(piece)
        file.flush()
        return file

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        if self.info.flag_bits & 0x1:
            raise NotTaken("encrypted", "the file is encrypted in its ZIP")
        try:
            with self.archive.open(self.info) as stream:
                yield stream
        except UNREADABLE as error:
            raise NotTaken("damaged-zip", f"the file cannot be unpacked ({type(error).__name__})") from error


def _members(file: IO[bytes], name: str, depth: int) -> Iterator[Found]:
    try:
        archive = zipfile.ZipFile(file)
        infos = archive.infolist()
    except UNREADABLE as error:
        file.close()
        raise NotTaken("damaged-zip", f"the ZIP cannot be read ({type(error).__name__})") from error
    size = os.fstat(file.fileno()).st_size
    unpacked = sum(info.file_size for info in infos)
    if unpacked > max(MOST_RATIO * size, FREE_BYTES) or len(infos) > MOST_MEMBERS:
        raise NotTaken("zip-bomb", f"{size} bytes would unpack to {unpacked} in {len(infos)} files")
    return (Member(archive, info, f"{name}!/{info.filename}", depth) for info in infos if not info.is_dir())
