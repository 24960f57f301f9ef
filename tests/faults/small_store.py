"""A PACS's store of a few small studies, for tests that need many PACSs quickly."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydicom.dataset import Dataset

from sluice.windows import Window
from tests.pacs.pretend import make_study

WINDOW = Window.of_day(date(2026, 10, 26))
KEY = WINDOW.key


@dataclass(frozen=True)
class SmallStore:
    """What the store holds: four studies of the window's day, the first of two series, and one of the day before.

    Attributes:
        home: as `HospitalPacs` takes it.
        studies: instances of the four.
        before: instances of the fifth.
    """

    home: Path
    studies: list[list[Dataset]]
    before: list[Dataset]

    @property
    def uids(self) -> list[str]:
        """SOP Instance UIDs of the day, study by study."""
        return [instance.SOPInstanceUID for study in self.studies for instance in study]

    def study_uid(self, number: int) -> str:
        return str(self.studies[number][0].StudyInstanceUID)

    def uids_of(self, number: int) -> set[str]:
        return {instance.SOPInstanceUID for instance in self.studies[number]}


def write_store(home: Path) -> SmallStore:
    """Write the studies as files below `home/pacs`."""
    studies = [
        make_study(2, 3, AccessionNumber="A1", StudyTime="081500", StudyDescription="CT Thorax"),
        make_study(1, 2, AccessionNumber="A2", StudyTime="101500.25", PatientID="P2"),
        make_study(1, 3, AccessionNumber="", StudyTime="121500", PatientID="P3"),
        make_study(1, 4, AccessionNumber="A4", StudyTime="235959", PatientID="P4"),
    ]
    before = make_study(1, 1, StudyDate="20261025", AccessionNumber="A5", PatientID="P5")
    for study in [*studies, before]:
        for instance in study:
            path = home / "pacs" / f"{instance.SOPInstanceUID}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            instance.save_as(path, enforce_file_format=True)
    return SmallStore(home, studies, before)
