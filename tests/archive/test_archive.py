"""The archive: one place for each instance, whoever comes at once, and nothing left of what failed."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from sluice.archive.files import Archive, Identity, Incoming, Kept

IDENTITY = Identity("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2", "1.2.1")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    made = Archive(tmp_path / "archive")
    made.prepare()
    return made


def incoming(archive: Archive, data: bytes) -> Incoming:
    begun = archive.begin(b"meta")
    begun.write(data)
    return begun


def keep(archive: Archive, begun: Incoming, identity: Identity = IDENTITY) -> Kept:
    placed = archive.place(identity, begun)
    archive.make_durable(placed, begun)
    return placed


def kept(archive: Archive, data: bytes) -> Kept:
    with incoming(archive, data) as begun:
        return keep(archive, begun)


def files(archive: Archive) -> list[str]:
    return sorted(str(path.relative_to(archive.root)) for path in archive.root.rglob("*") if path.is_file())


def test_new_same_and_other(archive: Archive) -> None:
    first = kept(archive, b"content")
    assert first == Kept("1.2/1.2.1/1.2.3.dcm", 11, hashlib.sha256(b"metacontent").hexdigest(), "new")
    assert kept(archive, b"content").outcome == "same"
    other = kept(archive, b"another")
    assert other.outcome == "other"
    assert files(archive) == sorted([first.path, other.path])
    assert (archive.root / first.path).read_bytes() == b"metacontent"


def test_what_is_begun_and_left_is_gone(archive: Archive) -> None:
    with incoming(archive, b"half"):
        assert len(files(archive)) == 1
    assert files(archive) == []


def test_the_same_by_many_at_once_is_one_file(archive: Archive) -> None:
    begun = [incoming(archive, b"content") for _ in range(8)]
    outcomes: list[str] = []

    def finish(one: Incoming) -> None:
        with one:
            outcomes.append(keep(archive, one).outcome)

    threads = [threading.Thread(target=finish, args=(one,)) for one in begun]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(outcomes) == ["new", *["same"] * 7]
    assert files(archive) == ["1.2/1.2.1/1.2.3.dcm"]


def test_who_finds_it_there_waits_until_it_is_durable_and_takes_over_when_it_fails(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one's disk fails between its name and its fsync; the second must not lean on that file."""
    named, fail = threading.Event(), threading.Event()
    flush = Incoming.sync
    first, second = incoming(archive, b"content"), incoming(archive, b"content")

    def failing(self: Incoming) -> None:
        if self is first:
            named.set()
            assert fail.wait(20)
            raise OSError(errno.EIO, "broken")
        flush(self)

    monkeypatch.setattr(Incoming, "sync", failing)
    outcomes: dict[str, str] = {}

    def finish(name: str, one: Incoming) -> None:
        with one:
            try:
                outcomes[name] = keep(archive, one).outcome
            except OSError:
                outcomes[name] = "failed"

    threads = [
        threading.Thread(target=finish, args=("first", first)),
        threading.Thread(target=finish, args=("second", second)),
    ]
    threads[0].start()
    assert named.wait(20)
    threads[1].start()
    threads[1].join(0.3)
    assert outcomes == {}, "it did not wait"
    fail.set()
    for thread in threads:
        thread.join(20)
    assert outcomes == {"first": "failed", "second": "new"}
    assert (archive.root / "1.2/1.2.1/1.2.3.dcm").read_bytes() == b"metacontent"
    assert files(archive) == ["1.2/1.2.1/1.2.3.dcm"]


def test_a_disk_that_fails_leaves_nothing(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as broken, pytest.raises(OSError), incoming(archive, b"content") as begun:  # noqa: PT012
        broken.setattr("sluice.archive.files.os.fsync", full)
        keep(archive, begun)
    assert files(archive) == []


def test_each_new_folder_is_made_durable_once(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(archive.root)).lstrip("/"))
        else:
            synced.append(f"file of {os.fstat(descriptor).st_nlink} name")
        fsync(descriptor)

    monkeypatch.setattr("sluice.archive.files.os.fsync", noted)
    kept(archive, b"content")
    assert synced == ["", "1.2", "file of 1 name", "1.2/1.2.1"]
    synced.clear()
    with incoming(archive, b"second") as begun:
        keep(archive, begun, Identity("1.2", "1.2.4", "1.2", "1.2.1"))
    assert synced == ["file of 1 name", "1.2/1.2.1"]


def test_a_folder_that_somebody_removed_is_made_again(archive: Archive) -> None:
    first = kept(archive, b"content")
    (archive.root / first.path).unlink()
    (archive.root / "1.2" / "1.2.1").rmdir()
    assert kept(archive, b"content").outcome == "new"


def test_what_somebody_writes_is_not_swept_away(archive: Archive) -> None:
    (archive.incoming / "left-behind").write_bytes(b"half")
    with incoming(archive, b"content") as begun:
        Archive(archive.root).prepare()
        assert files(archive) == [os.path.relpath(begun.path, archive.root)]


def test_the_disk_begins_while_a_file_comes_and_its_header_stays_at_hand(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int, int]] = []
    advise = os.posix_fadvise

    def noted(descriptor: int, offset: int, length: int, advice: int) -> None:
        told.append((os.fstat(descriptor).st_size, offset, advice))
        advise(descriptor, offset, length, advice)

    monkeypatch.setattr("sluice.archive.files.os.posix_fadvise", noted)
    with archive.begin(b"meta") as begun:
        for _ in range(10):
            begun.write(bytes(1 << 20))
        placed = keep(archive, begun)
    assert (archive.root / placed.path).stat().st_size == 4 + (10 << 20)
    assert placed.sha256 == hashlib.sha256(b"meta" + bytes(10 << 20)).hexdigest()
    assert [size - 4 for size, _, _ in told] == [5 << 20, 9 << 20, 10 << 20]
    assert {(offset, advice) for _, offset, advice in told} == {(1 << 16, os.POSIX_FADV_DONTNEED)}
    told.clear()
    with archive.begin(b"meta") as begun:
        begun.write(bytes(1000))
        archive.make_durable(archive.place(Identity("1.2", "1.2.4", "1.2", "1.2.1"), begun), begun)
    assert told == [], "a small file stays as a whole"


def test_two_who_set_the_same_file_aside_both_find_it_there(archive: Archive) -> None:
    placed = kept(archive, b"content")
    first, second = (archive.set_aside(IDENTITY.sop_instance, placed) for _ in range(2))
    assert first == second
    assert (archive.root / first.path).is_file()
