"""What the tests of releases share."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.database import Database
from sluice.objects import ObjectStore
from tests.release.scene import Scene


@pytest.fixture
def scene(database: Database, bucket: ObjectStore, tmp_path: Path) -> Scene:
    """An empty archive, a bucket, a folder for keys."""
    return Scene(database, tmp_path / "archive", bucket, tmp_path / "keys", [], [])
