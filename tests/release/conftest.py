"""What the tests of releases share."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.database import Database
from sluice.objects import ObjectStore
from tests.release.scene import Scene


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Of received files; empty."""
    return tmp_path / "archive"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Of the projects' keys; empty."""
    return tmp_path / "keys"


@pytest.fixture
def scene(database: Database, bucket: ObjectStore, archive: Path, keys: Path) -> Scene:
    """An empty archive, a bucket, a folder for keys."""
    return Scene(database, archive, bucket, keys, [], [])
