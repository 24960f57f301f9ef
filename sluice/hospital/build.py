"""Build a simulated hospital: its PACS's store, what its scanners push by themselves, and the truth about the day.

home/pacs/…/*.dcm         what the PACS stores, stamped with its own clock
home/scanners/<AE>/*.dcm  what scanners push to us by themselves, as they wrote it
home/truth.json           `sluice.hospital.truth.Truth`
home/faults.json          `sluice.hospital.faults.Faults` of the day
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

from pydicom import Dataset, dcmwrite
from pydicom.config import settings as pydicom_settings

from sluice.hospital import acquisition, headers, volumes
from sluice.hospital.day import plan_day
from sluice.hospital.faults import DAY_ANSWER_CAP, Faults
from sluice.hospital.index import Index
from sluice.hospital.mishaps import ALSO, ENDS, FAILS_ONCE, images
from sluice.hospital.people import Patient
from sluice.hospital.plan import DEFAULT_DAY, DEFAULT_SEED, Day, Exam, Image, Series, size_of
from sluice.hospital.real import JoinedFile, Radiographs, join
from sluice.hospital.truth import TrueInstance, TrueScanner, TrueSeries, TrueStudy, Truth

FORMAT = 3  # raise it when the same seed gives other files than before
PACS_ZONE = timezone(timedelta(hours=1))
STRAY = b"This file lies in the image store of the PACS but is no DICOM object.\n" * 9
ROUTER5 = {"ABDOMEN": "abdominal", "SPINE": "spine", "LSPINE": "spine", "TSPINE": "spine", "CSPINE": "spine"}
_ROUTER5_OF_FILES = {**ROUTER5, "CHEST": "adult_chest"}  # the one chest among the real files is an adult's


def build(
    home: Path,
    shared_data: Path | None = None,
    seed: int = DEFAULT_SEED,
    scale: str | float = "day",
    day: date = DEFAULT_DAY,
) -> Truth:
    """Write the hospital under `home` and return the truth; what is already there for the same arguments is kept.

    Args:
        home: folder of the hospital; other files in it are left alone.
        shared_data: `../shared/data` with real radiographs and DICOM files; None draws everything.
        seed: decides everything: the same seed gives the same bytes.
        scale: `day`, `tiny`, or how many times the day's exams.
        day: the day.
    """
    real = shared_data if shared_data is not None and (shared_data / "manifest.csv").exists() else None
    stamp = {"format": FORMAT, "seed": seed, "scale": size_of(scale).name, "day": day.isoformat(), "real": bool(real)}
    stamp_file = home / "built.json"
    if stamp_file.exists() and json.loads(stamp_file.read_text()) == stamp:
        return Truth.load(home / "truth.json")
    home.mkdir(parents=True, exist_ok=True)
    stamp_file.unlink(missing_ok=True)
    for folder in ("pacs", "scanners"):
        shutil.rmtree(home / folder, ignore_errors=True)
    truth = Builder(home, plan_day(seed, day, scale), real).build()
    truth.save(home / "truth.json")
    Index(home / "pacs", home / "index.json")  # read every header now rather than when the PACS starts
    stamp_file.write_text(json.dumps(stamp))
    return truth


class Builder:
    """Writes the files of one planned day."""

    def __init__(self, home: Path, plan: Day, shared_data: Path | None) -> None:
        self.home, self.plan = home, plan
        self.radiographs = Radiographs(shared_data, plan.seed) if shared_data else None
        self.shared_data = shared_data
        self.pictures: dict[str, str] = {}
        self.joined: list[JoinedFile] = []

    def build(self) -> Truth:
        """Write everything but the truth file."""
        with anything_goes():
            for exam in self.plan.exams:
                for series in exam.series:
                    self._series(exam, series)
            if self.shared_data is not None:
                self._join(self.shared_data)
        (self.home / "pacs" / "IMPORT").mkdir(parents=True, exist_ok=True)
        (self.home / "pacs" / "IMPORT" / "IM000001.dcm").write_bytes(STRAY)
        self._faults().save(self.home / "faults.json")
        return self._truth()

    def _series(self, exam: Exam, series: Series) -> None:
        plan = self.plan
        stack = None
        if series.kind == "stack":
            seed = acquisition.seed_of(exam.study_instance_uid) // 100 * 100 + series.number
            stack = volumes.Stack(
                exam.region, series.contrast, series.modality, plan.size.edge, len(series.images), seed
            )
        delay = _transfer_delay(series)
        jitter = random.Random(f"{series.series_instance_uid}/jitter")
        for image in series.images:
            ds = headers.dataset(exam, series, image, plan.seed)
            if stack is not None:
                acquisition.fill_stack(ds, exam, series, image, stack)
                self.pictures[series.series_instance_uid] = "phantom"
            elif series.kind == "film":
                film, spacing, picture = self._film(exam, image)
                acquisition.fill_film(ds, exam, series, image, film, spacing)
                self.pictures[series.series_instance_uid] = picture
            else:
                acquisition.FILLS[series.kind](ds, exam, series, image, plan.size)
                self.pictures[series.series_instance_uid] = "phantom"
            if image.mishap == "corrupt-pixels":
                _corrupt(ds)
            if exam.pushed:
                self._write(ds, self.home / "scanners" / exam.scanner.station_name, exam, series, image)
            if exam.in_pacs:
                stored_at = image.acquired_at + timedelta(seconds=delay + jitter.uniform(0, 1.5))
                _stamp(ds, stored_at)
                self._write(ds, self.home / "pacs", exam, series, image)

    def _film(self, exam: Exam, image: Image) -> tuple[acquisition.Film, float, str]:
        """The film, the width of its pixels in mm, and what kind of picture it is."""
        film, picture = None, "phantom"
        if self.radiographs is not None and exam.prefers_real:
            film = self.radiographs.take(exam, image, exam.patient.age_on(self.plan.day) < 15)
            picture = "rendered" if exam.ivc_filter else "real"
        if film is None:
            film, picture = acquisition.drawn_film(exam, image, self.plan.size), "phantom"
        return film, 430.0 / max(film.shape), picture

    def _join(self, shared_data: Path) -> None:
        """Import the real DICOM files into the PACS."""
        self.joined = join(self.plan, shared_data)
        folder = self.home / "pacs" / "IMPORT"
        folder.mkdir(parents=True, exist_ok=True)
        for number, joined in enumerate(self.joined, start=1):
            _stamp(joined.dataset, joined.acquired_at + timedelta(minutes=25))
            dcmwrite(folder / f"DISC{number:04d}.dcm", joined.dataset, enforce_file_format=True)

    def _write(self, ds: Dataset, root: Path, exam: Exam, series: Series, image: Image) -> None:
        folder = root / hashlib.sha256(exam.study_instance_uid.encode()).hexdigest()[:10]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{series.number:03d}-{image.number:04d}.dcm"
        dcmwrite(path, ds, enforce_file_format=True)
        if image.mishap == "truncated":
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2 // 2 * 2])

    def _faults(self) -> Faults:
        faults = Faults(answer_cap=DAY_ANSWER_CAP)
        places = {
            "never-sent": faults.drop_success,
            "always-fails": faults.fail_always,
            FAILS_ONCE: faults.fail_once,
        }
        for _, _, image in images(self.plan):
            if image.mishap in places:
                places[image.mishap].add(image.sop_instance_uid)
        return faults

    def _truth(self) -> Truth:
        plan = self.plan
        busy: dict[str, float] = {}
        for exam in plan.exams:
            minutes = (exam.ends_at - exam.begins_at).total_seconds() / 60
            busy[exam.scanner.station_name] = busy.get(exam.scanner.station_name, 0.0) + minutes
        return Truth(
            seed=plan.seed,
            scale=plan.size.name,
            day=plan.day,
            scanners=[
                TrueScanner(
                    station_name=scanner.station_name,
                    modality=scanner.modality,
                    manufacturer=scanner.manufacturer,
                    model_name=scanner.model_name,
                    device_serial_number=scanner.serial,
                    department=scanner.department,
                    room=scanner.room,
                    offset_s=scanner.offset_s,
                    drift_s_per_day=scanner.drift_s_per_day,
                    dst_slip=scanner.dst_slip,
                    busy_minutes=round(busy[scanner.station_name], 3),
                )
                for scanner in plan.scanners
            ],
            studies=[self._true_study(exam) for exam in plan.exams]
            + [_true_file(joined, plan.day) for joined in self.joined],
        )

    def _true_study(self, exam: Exam) -> TrueStudy:
        return TrueStudy(
            study_instance_uid=exam.study_instance_uid,
            patient_id="" if exam.mishap == "no-patient-id" else exam.patient.patient_id,
            accession_number=exam.accession_number,
            station_name=exam.scanner.station_name,
            begins_at=exam.begins_at,
            ends_at=exam.ends_at,
            in_pacs=exam.in_pacs,
            pushed=exam.pushed,
            series=[self._true_series(exam, series) for series in exam.series],
        )

    def _true_series(self, exam: Exam, series: Series) -> TrueSeries:
        film = series.kind == "film"
        return TrueSeries(
            series_instance_uid=series.series_instance_uid,
            modality=series.modality,
            region=None if series.region == "BREAST" else series.region,
            router5=_router5(exam.region, exam.patient, self.plan.day) if film else None,
            ivc_filter=exam.ivc_filter if film else None,
            picture=self.pictures[series.series_instance_uid],
            instances=[_true_instance(image) for image in series.images],
        )


def _stamp(ds: Dataset, stored_at: datetime) -> None:
    """What this PACS writes into everything it stores: when, by its own clock, which is right."""
    ds.InstanceCoercionDateTime = stored_at.replace(tzinfo=PACS_ZONE).strftime("%Y%m%d%H%M%S.%f%z")


def _true_instance(image: Image) -> TrueInstance:
    step, reason = ENDS.get(image.mishap or "", (None, None))
    return TrueInstance(
        sop_instance_uid=image.sop_instance_uid,
        acquired_at=image.acquired_at,
        ends_at_step=step,
        reason_code=reason,
        gaps=({step: reason} if step and reason else {}) | ALSO.get(image.mishap or "", {}),
        mishap=image.mishap,
    )


def _true_file(joined: JoinedFile, day: date) -> TrueStudy:
    """A study of one real file."""
    ds, origin = joined.dataset, joined.origin
    mishap = "held-class" if origin.held else None
    film = origin.modality in ("CR", "DX")
    image = Image(str(ds.SOPInstanceUID), 1, joined.acquired_at, mishap=mishap)
    return TrueStudy(
        study_instance_uid=str(ds.StudyInstanceUID),
        patient_id=joined.patient_id,
        accession_number=joined.accession_number,
        station_name=None,
        begins_at=None,
        ends_at=None,
        series=[
            TrueSeries(
                series_instance_uid=str(ds.SeriesInstanceUID),
                modality=origin.modality,
                region=origin.region,
                router5=_ROUTER5_OF_FILES.get(origin.region or "", "others") if film else None,
                ivc_filter=False if film else None,
                picture="file",
                instances=[_true_instance(image)],
            )
        ],
    )


def _router5(region: str, patient: Patient, day: date) -> str:
    if region == "CHEST":
        return "pediatric_chest" if patient.age_on(day) < 15 else "adult_chest"
    return ROUTER5.get(region, "others")


def _transfer_delay(series: Series) -> float:
    """Seconds from acquisition to the PACS's stamp: at least 20, half of them under 42, a tail of minutes."""
    chance = random.Random(f"{series.series_instance_uid}/delay")
    return 20.0 + min(chance.lognormvariate(3.1, 0.8), 260.0)


def _corrupt(ds: Dataset) -> None:
    """Destroy the head of the JPEG 2000 codestream, so that no decoder can begin."""
    raw = bytearray(ds.PixelData)
    begin = raw.index(b"\xff\x4f\xff\x51")
    raw[begin : begin + 60] = bytes(60)
    ds.PixelData = bytes(raw)


class anything_goes:  # noqa: N801 - used as a with-statement only
    """Scanners write values that the standard forbids; so must we."""

    def __enter__(self) -> None:
        from pydicom import config

        self.writing = pydicom_settings.writing_validation_mode
        self.reading = pydicom_settings.reading_validation_mode
        pydicom_settings.writing_validation_mode = config.IGNORE
        pydicom_settings.reading_validation_mode = config.IGNORE

    def __exit__(self, *problem: object) -> None:
        pydicom_settings.writing_validation_mode = self.writing
        pydicom_settings.reading_validation_mode = self.reading
