"""The projects' keys: one for all workers, refused when open or damaged, and never replaced without a word."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from sluice.database import Database
from sluice.release.linkage.keys import (
    FolderKeys,
    ProjectKey,
    ProjectKeyError,
    TextKeys,
    key_source,
    lacking,
    new_key,
    text_of,
)
from sluice.release.linkage.registered import backed_up, current_key, known_keys, rotate
from sluice.settings import settings

OLD = bytes(range(32))


def _key_of(folder: str) -> bytes:
    return FolderKeys(Path(folder)).make("race", 1).secret


def test_workers_that_make_a_key_at_once_agree_on_one(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        keys = set(pool.map(_key_of, [str(tmp_path / "keys")] * 16))
    assert len(keys) == 1
    path = tmp_path / "keys" / "race.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["race.key"]


def test_a_key_that_others_can_read_that_is_cut_or_changed_is_refused(tmp_path: Path) -> None:
    source, path = FolderKeys(tmp_path), tmp_path / "p.key"
    key = source.make("p", 1)
    path.chmod(0o640)
    with pytest.raises(ProjectKeyError, match="chmod 600"):
        source.ring("p")
    path.chmod(0o600)
    text = path.read_text()
    path.write_text(text.replace(key.secret.hex()[:4], "0000" if key.secret.hex()[:4] != "0000" else "1111"))
    with pytest.raises(ProjectKeyError, match="damaged"):
        source.ring("p")
    path.write_text(text.replace(" p 1 ", " q 1 "))
    with pytest.raises(ProjectKeyError, match="no two projects"):
        source.ring("p")
    path.write_text(text.replace("sluice-key 1", "sluice-key 2"))
    with pytest.raises(ProjectKeyError, match="derivation 2"):
        source.ring("p")
    path.write_bytes(b"short")
    with pytest.raises(ProjectKeyError, match="5 bytes"):
        source.ring("p")


def test_the_keys_of_one_project_are_not_those_of_another_with_its_name_at_the_front(tmp_path: Path) -> None:
    source = FolderKeys(tmp_path)
    made = [source.make("p", number) for number in (1, 2, 10)]
    source.make("p-2", 1)
    (tmp_path / "p.old.key").write_text("a note")
    assert source.ring("p").keys == tuple(made)
    assert repr(made[0].secret.hex()) not in repr(source.ring("p"))


def test_a_key_of_32_bytes_is_the_first_and_keeps_its_fingerprint(tmp_path: Path) -> None:
    (tmp_path / "p.key").write_bytes(OLD)
    (tmp_path / "p.key").chmod(0o600)
    (key,) = FolderKeys(tmp_path).ring("p").keys
    assert (key.number, key.key_id, key.derivation) == (1, "3e1d43594dd57e46", 1)
    assert TextKeys(key.line(), "a text").ring("p").keys[0].secret == OLD


def test_keys_come_from_one_mounted_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    ours, others = new_key("p", 1), new_key("q", 1)
    path.write_text(f"# two\n{ours.line()}\n\n{others.line()}\n")
    path.chmod(0o440)
    monkeypatch.setenv("SLUICE_KEYS_FILE", str(path))
    settings.cache_clear()
    try:
        assert key_source().ring("p").keys == (ours,)
        with pytest.raises(ProjectKeyError, match="key make p"):
            key_source().make("p", 2)
    finally:
        monkeypatch.undo()
        settings.cache_clear()
    path.chmod(0o444)
    with pytest.raises(ProjectKeyError, match="open to everybody"):
        text_of(path)
    twice = ProjectKey("p", 1, OLD)
    with pytest.raises(ProjectKeyError, match="two keys number 1"):
        TextKeys(f"{ours.line()}\n{twice.line()}", "a text").ring("p")


def test_a_lost_key_is_not_replaced_until_a_person_says_that_it_is_lost(database: Database, tmp_path: Path) -> None:
    source = FolderKeys(tmp_path / "keys")
    with database.transaction() as connection:
        first = current_key(connection, "p", source)
    kept = (tmp_path / "keys" / "p.key").read_bytes()
    (tmp_path / "keys" / "p.key").unlink()
    for _ in range(2):
        with pytest.raises(ProjectKeyError, match="Nothing was put in its place"), database.transaction() as connection:
            current_key(connection, "p", source)
        assert not list((tmp_path / "keys").iterdir())
    with pytest.raises(ProjectKeyError, match="--lost"):
        rotate(database, "p", source)
    second = rotate(database, "p", source, "the disk burnt and so did its copy")
    assert (second.number, first.number) == (2, 1)
    with database.transaction() as connection:
        assert current_key(connection, "p", source) == second
    assert [row["lost_at"] is not None for row in known_keys(database, "p")] == [True, False]
    (tmp_path / "keys" / "p.key").write_bytes(kept)  # found after all
    (tmp_path / "keys" / "p.key").chmod(0o600)
    with database.transaction() as connection:
        assert current_key(connection, "p", source) == second


def test_another_key_in_the_place_of_the_known_one_is_refused(database: Database, tmp_path: Path) -> None:
    with database.transaction() as connection:
        known = current_key(connection, "p", FolderKeys(tmp_path / "one"))
    other = FolderKeys(tmp_path / "other")
    other.make("p", 1)
    with pytest.raises(ProjectKeyError, match=known.key_id), database.transaction() as connection:
        current_key(connection, "p", other)


def test_after_a_rotation_a_worker_without_the_new_key_is_refused(database: Database, tmp_path: Path) -> None:
    source, stale = FolderKeys(tmp_path / "keys"), FolderKeys(tmp_path / "stale")
    with database.transaction() as connection:
        current_key(connection, "p", source)
    stale.folder.mkdir()
    (stale.folder / "p.key").write_bytes((source.folder / "p.key").read_bytes())
    (stale.folder / "p.key").chmod(0o600)
    second = rotate(database, "p", source)
    assert [key.number for key in source.ring("p").keys] == [1, 2]
    with pytest.raises(ProjectKeyError, match=second.key_id), database.transaction() as connection:
        current_key(connection, "p", stale)


def test_a_backup_is_compared_key_by_key(database: Database, tmp_path: Path) -> None:
    source = FolderKeys(tmp_path / "keys")
    with database.transaction() as connection:
        first = current_key(connection, "p", source)
    second = rotate(database, "p", source)
    copy = TextKeys(f"{first.line()}\n{new_key('p', 2).line()}", "a copy").ring("p")
    assert lacking(source.ring("p"), copy) == [second]
    assert backed_up(database, "p", source.ring("p"), copy) == [second]
    assert [row["backup_checked_at"] is not None for row in known_keys(database, "p")] == [True, False]
    with pytest.raises(ProjectKeyError, match=second.key_id):
        backed_up(database, "p", copy, copy)


def test_a_database_that_used_keys_before_they_had_numbers_knows_them(database: Database, tmp_path: Path) -> None:
    (tmp_path / "p.key").write_bytes(OLD)
    (tmp_path / "p.key").chmod(0o600)
    database.execute(
        "insert into project_key (project, key_id) values ('p', '3e1d43594dd57e46')"
    )  # as the migration does
    with database.transaction() as connection:
        assert current_key(connection, "p", FolderKeys(tmp_path)).secret == OLD
    assert [row["number"] for row in known_keys(database, "p")] == [1]
