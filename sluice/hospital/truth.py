"""What the simulated hospital really did on its day.

Written beside the hospital, read by the closing table and by tests, never by the pipeline.
"""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

from pydantic import BaseModel, Field


class TrueInstance(BaseModel):
    """One SOP instance.

    Attributes:
        acquired_at: true local time of acquisition (the header shows it through the scanner's clock).
        ends_at_step: None when it should reach the bucket; else the step where it must stop
            (`received`, `indexed`, `predicted`, `released`) …
        reason_code: … with the reason the ledger must give (`sql/migrations/0001_ledger.sql`).
            `predicted` is only listed where a radiograph must fail to be read.
        gaps: every step that must stay open on it, with its reason code; the two fields above are the first.
        mishap: what is wrong with it, key of `sluice.hospital.mishaps.ENDS` or `fails-once`; None for a good one.
    """

    sop_instance_uid: str
    acquired_at: datetime
    ends_at_step: str | None = None
    reason_code: str | None = None
    gaps: dict[str, str] = Field(default_factory=dict)
    mishap: str | None = None


class TrueSeries(BaseModel):
    """One series.

    Attributes:
        region: key of the 36 body regions that is truly shown (`CHEST`), None where not applicable.
        router5: `abdominal`, `adult_chest`, `pediatric_chest`, `spine` or `others`; None unless CR/DX.
        ivc_filter: whether a filter is in the picture; None unless CR/DX.
        picture: `real` (a real radiograph), `rendered`, `phantom` or `file` (a real DICOM file).
    """

    series_instance_uid: str
    modality: str
    region: str | None = None
    router5: str | None = None
    ivc_filter: bool | None = None
    picture: str
    instances: list[TrueInstance]


class TrueStudy(BaseModel):
    """One exam: a patient on a scanner.

    Attributes:
        station_name: the scanner; None for real files that no scanner of this hospital made.
        begins_at, ends_at: true local time the patient occupied the scanner.
        in_pacs: whether the PACS holds it, so a sweep must expect it.
        pushed: whether a scanner also sends it to our receiver by itself.
    """

    study_instance_uid: str
    patient_id: str
    accession_number: str
    station_name: str | None
    begins_at: datetime | None
    ends_at: datetime | None
    in_pacs: bool = True
    pushed: bool = False
    series: list[TrueSeries]


class TrueScanner(BaseModel):
    """One scanner and its clock.

    Attributes:
        offset_s: scanner clock minus true time at noon of the day, seconds, a DST slip included.
        drift_s_per_day: how the offset grows, seconds a day.
        dst_slip: the clock was not changed when summer time ended.
        busy_minutes: sum of the exams' occupied minutes on the day.
    """

    station_name: str
    modality: str
    manufacturer: str
    model_name: str
    device_serial_number: str
    department: str
    room: str
    offset_s: float
    drift_s_per_day: float
    dst_slip: bool
    busy_minutes: float


class Truth(BaseModel):
    """The whole day.

    Attributes:
        scale: name of the size it was built in; see `sluice.hospital.plan.SIZES`.
    """

    seed: int
    scale: str = "day"
    day: date
    scanners: list[TrueScanner]
    studies: list[TrueStudy]

    @classmethod
    def load(cls, path: Path) -> Truth:
        """Read the truth file."""
        return cls.model_validate_json(path.read_text(encoding="utf-8"))

    def save(self, path: Path) -> None:
        """Write the truth file."""
        path.write_text(self.model_dump_json(indent=1), encoding="utf-8")
