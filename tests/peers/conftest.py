"""Where what real peers send goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.archive.storing import Storing
from sluice.database import Database
from sluice.pacs.receiver.receive import Receiver


@pytest.fixture
def storing(database: Database, tmp_path: Path) -> Iterator[Storing]:
    with Storing(database, tmp_path / "archive", tmp_path / "spool", min_free_bytes=1) as running:
        yield running


@pytest.fixture
def receiver(database: Database, tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(database, tmp_path / "archive", min_free_bytes=1, move_source_ae_titles=("PEER",)) as running:
        yield running
