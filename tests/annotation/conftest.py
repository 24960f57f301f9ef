from __future__ import annotations

import pytest

from sluice.database import Database
from tests.annotation.films import Films


@pytest.fixture
def films(database: Database, monkeypatch: pytest.MonkeyPatch) -> Films:
    """Films in a fresh database; every one is read by two."""
    settle(monkeypatch, double=1.0)
    return Films(database)


def settle(patch: pytest.MonkeyPatch, double: float = 1.0, single: bool = False) -> None:
    """Settings of the site."""
    from sluice.settings import Settings

    site = Settings(annotation_double_share=double, annotation_single_reader=single)
    for module in ("answers", "confirmed"):
        patch.setattr(f"sluice.annotation.{module}.settings", lambda: site)
