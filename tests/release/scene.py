"""A project and its releases for tests: prepare, export, derive, verify, publish in one call."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.database import Database
from sluice.objects import ObjectStore
from sluice.release.export import PublishSummary, export_batch, prepare, publish, verify
from sluice.release.formats.derive import derive
from sluice.release.projects import Project
from tests.release.hospital_day import DAY


@dataclass
class Scene:
    """Where releases come from and go to.

    Attributes:
        exported, derived: summaries of the parts of the last release.
    """

    database: Database
    archive: Path
    bucket: ObjectStore
    keys: Path
    exported: list[Any]
    derived: list[Any]

    def project(self, **fields: Any) -> Project:
        return Project(
            **{
                "name": "radiographs",
                "title": "Test",
                "profile": "basic",
                "selection": {"modality": ["CR", "DX", "CT", "MR"]},
                "bucket": self.bucket.bucket,
                "pseudonym_prefix": "RAD",
                "approval": "none",
            }
            | fields
        )

    def release(self, project: Project, window: str = DAY, part_size: int = 4, **members: Any) -> PublishSummary:
        release_id = self.exported_release(project, window, part_size, **members)
        verify(self.database, self.bucket, release_id)
        return publish(self.database, self.bucket, release_id, self.keys)

    def exported_release(self, project: Project, window: str = DAY, part_size: int = 4, **members: Any) -> int:
        """A release that waits for `verify`."""
        plan = prepare(self.database, project, window, part_size=part_size, keys=self.keys, **members)
        parts = [part.as_dict() for part in plan.batches]
        release_id = plan.release_id
        self.exported = [
            export_batch(self.database, self.archive, self.bucket, project, release_id, part, keys=self.keys)
            for part in parts
        ]
        self.derived = [derive(self.database, self.bucket, release_id, part) for part in parts]
        return release_id
