from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.database import Database
from sluice.pacs.receiver.receive import Receiver


@pytest.fixture
def receiver(database: Database, tmp_path: Path) -> Iterator[Receiver]:
    """A receiver on a free port with an empty archive."""
    with Receiver(database, tmp_path / "archive", min_free_bytes=1, move_source_ae_titles=("PRETEND",)) as running:
        yield running
