"""The plan of a hospital's day: which patient lies on which scanner when, and what each picture is.

Everything is drawn from one seed; the same seed, day and size give the same plan, down to every UID.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta

from sluice.hospital.equipment import Scanner, scanners
from sluice.hospital.people import Patient, patients

DEFAULT_DAY = date(2026, 10, 26)
DEFAULT_SEED = 20261026


@dataclass(frozen=True)
class Size:
    """How large a hospital to build.

    Attributes:
        exams: how many exams of each modality.
        ct_slices, mr_slices: slices of a main series, least and most.
        edge: rows and columns of CT and MR slices, pixels.
        film_edge: long edge of a drawn radiograph, pixels.
        real_files: how many real DICOM files to mix in, at most.
    """

    name: str
    exams: dict[str, int]
    ct_slices: tuple[int, int]
    mr_slices: tuple[int, int]
    edge: int
    film_edge: int
    real_files: int


SIZES = {
    "tiny": Size("tiny", {"CT": 1, "MR": 1, "DX": 5, "CR": 3, "US": 1, "MG": 1}, (12, 14), (6, 8), 64, 384, 3),
    "day": Size("day", {"CT": 13, "MR": 9, "DX": 24, "CR": 15, "US": 6, "MG": 4}, (40, 64), (22, 34), 128, 768, 16),
}


def size_of(scale: str | float) -> Size:
    """The named size, or the day with `scale` times the exams."""
    if isinstance(scale, str):
        if scale not in SIZES:
            raise ValueError(f"No hospital of size {scale!r}: use one of {', '.join(SIZES)} or a number such as 2.0.")
        return SIZES[scale]
    day = SIZES["day"]
    least = SIZES["tiny"].exams
    exams = {modality: max(least[modality], round(count * scale)) for modality, count in day.exams.items()}
    return replace(day, name=f"day-x{scale:g}", exams=exams)


@dataclass
class Image:
    """One picture to make.

    Attributes:
        acquired_at: true local time.
        mishap: what is wrong with it, a key of `sluice.hospital.mishaps`; None for a good one.
    """

    sop_instance_uid: str
    number: int
    acquired_at: datetime
    view: str | None = None
    laterality: str | None = None
    mishap: str | None = None


@dataclass
class Series:
    """One series to make.

    Attributes:
        kind: `stack` (CT, MR), `localizer`, `film` (CR, DX), `ultrasound`, `mammogram`, `dose-screen`,
            `dose-report`, `letter`, `report`, `key-note`, `presentation`.
        contrast: `T1`, `T2`, `FLAIR`, `DWI`, `BONE`, `SOFT`, `LUNG` … for stacks.
        dirt: how Body Part Examined is written; see `sluice.hospital.words`.
    """

    series_instance_uid: str
    number: int
    modality: str
    region: str | None
    kind: str
    description: str
    images: list[Image]
    contrast: str = ""
    dirt: str = "clean"


@dataclass
class Exam:
    """One study: a patient on a scanner from `begins_at` to `ends_at` (true local time)."""

    study_instance_uid: str
    frame_of_reference_uid: str
    patient: Patient
    scanner: Scanner
    accession_number: str
    begins_at: datetime
    ends_at: datetime
    region: str
    language: str
    syntax: str
    series: list[Series] = field(default_factory=list)
    ivc_filter: bool = False
    prefers_real: bool = False
    in_pacs: bool = True
    pushed: bool = False
    mishap: str | None = None
    dirt: str = "clean"


@dataclass(frozen=True)
class Day:
    """The whole plan."""

    seed: int
    day: date
    size: Size
    scanners: list[Scanner]
    exams: list[Exam]


def uid(*parts: object) -> str:
    """A UID under 2.25 (PS3.5 B.2) that depends on `parts` alone."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


MINUTES = {"CT": (11, 24), "MR": (22, 44), "DX": (4, 9), "CR": (4, 10), "US": (12, 24), "MG": (9, 15)}
_DIRT = ("clean",) * 8 + ("wrong",) * 3 + ("missing",) * 3 + ("language",) * 4 + ("vendor",) * 2
_SYNTAXES = {
    "CT": ("explicit",) * 5 + ("implicit", "jpeg-lossless", "j2k", "jpeg-ls", "rle", "deflated", "big-endian"),
    "MR": ("explicit",) * 4 + ("implicit", "jpeg-lossless", "j2k", "jpeg-ls", "rle"),
    "DX": ("explicit",) * 4 + ("j2k", "jpeg-lossless", "jpeg-ls", "jpeg-baseline", "rle", "deflated"),
    "CR": ("explicit",) * 3 + ("implicit", "jpeg-lossless", "j2k", "jpeg-baseline", "big-endian"),
    "US": ("explicit", "jpeg-baseline", "rle"),
    "MG": ("explicit", "j2k"),
}
# The first radiographs are told, so that even the smallest hospital has each case; the rest are drawn.
# (region, child, filter, mishap)
_TOLD: dict[str, tuple[tuple[str, bool, bool, str | None], ...]] = {
    "DX": (
        ("ABDOMEN", False, True, None),
        ("KNEE", False, False, "corrupt-pixels"),
        ("CHEST", False, False, "no-patient-id"),
        ("HAND", False, False, "burned-in"),
        ("LSPINE", False, False, None),
        ("ABDOMEN", False, False, None),
        ("ABDOMEN", False, True, None),
        ("PELVIS", False, False, None),
        ("CSPINE", False, False, None),
        ("LSPINE", False, True, None),
    ),
    "CR": (
        ("CHEST", False, False, "two-patients"),
        ("CHEST", True, False, None),
        ("CHEST", False, False, None),
        ("FOOT", True, False, None),
        ("ABDOMEN", False, False, None),
        ("ABDOMEN", False, True, None),
        ("CHEST", True, False, None),
    ),
}
_DRAWN = {
    "DX": (
        *("CHEST",) * 5,
        *("ABDOMEN", "LSPINE", "KNEE") * 2,
        "CSPINE",
        "TSPINE",
        "HAND",
        "FOOT",
        "PELVIS",
        "SHOULDER",
        "SKULL",
    ),
    "CR": (*("CHEST",) * 6, "ABDOMEN", "HAND", "FOOT", "KNEE", "SHOULDER"),
}
# Kinds of series that hold no picture, and their modality.
DOCUMENTS = {"dose-report": "SR", "letter": "DOC", "report": "SR", "key-note": "KO", "presentation": "PR"}
WRITTEN_ABOUT = (("DX", 0), ("DX", 4))  # exams that somebody reported
PAIRED = {"KNEE", "HAND", "FOOT", "SHOULDER", "WRIST", "ANKLE", "ELBOW", "HIP"}


class Planner:
    """Draws one day; each exam has its own chance, so a change in one leaves the others as they were."""

    def __init__(self, seed: int, day: date, size: Size) -> None:
        self.seed, self.day, self.size = seed, day, size
        self.scanners = scanners(seed, day)
        films = size.exams["DX"] + size.exams["CR"]
        self.adults, self.children = patients(seed, day, adults=sum(size.exams.values()), children=films)
        self.adult = iter(self.adults)
        self.child = iter(self.children)

    def plan(self) -> Day:
        """The day's exams, each on its scanner at its time."""
        exams: list[Exam] = []
        for modality, count in self.size.exams.items():
            rooms = [scanner for scanner in self.scanners if scanner.modality == modality]
            free_at = {
                scanner.station_name: datetime.combine(self.day, time(7, 4)) + timedelta(minutes=3 * place)
                for place, scanner in enumerate(rooms)
            }
            for index in range(count):
                scanner = rooms[index % len(rooms)]
                exam = self._exam(modality, index, scanner, free_at[scanner.station_name], count / len(rooms))
                free_at[scanner.station_name] = exam.ends_at
                exams.append(exam)
        used = {exam.scanner.station_name for exam in exams}
        exams.sort(key=lambda exam: (exam.begins_at, exam.study_instance_uid))
        return Day(self.seed, self.day, self.size, [s for s in self.scanners if s.station_name in used], exams)

    def _exam(self, modality: str, index: int, scanner: Scanner, free_at: datetime, load: float) -> Exam:
        key = (self.seed, self.day, self.size.name, modality, index)
        chance = random.Random("/".join(map(str, key)))
        child, ivc_filter, mishap = False, False, None
        if modality in _TOLD and index < len(_TOLD[modality]):
            region, child, ivc_filter, mishap = _TOLD[modality][index]
        elif modality in _DRAWN:
            region = chance.choice(_DRAWN[modality])
            child = scanner.department == "Paediatrics" and region != "ABDOMEN"
        else:
            region = {"CT": ("CHEST", "SKULL", "ABDOMEN"), "MR": ("SKULL", "LSPINE", "KNEE"), "US": ("ABDOMEN",)}.get(
                modality, ("BREAST",)
            )[index % (3 if modality in ("CT", "MR") else 1)]
        low, high = MINUTES[modality]
        occupied = timedelta(seconds=round(chance.uniform(low, high) * 60))
        # Idle time grows when the list is short, so that a small hospital's day still runs into the afternoon.
        idle = timedelta(seconds=round(chance.uniform(0.2, 1.8) * min(5_400, 36_000 / (load + 1) - occupied.seconds)))
        begins_at = free_at + max(idle, timedelta(minutes=1))
        patient = next(self.child) if child else next(self.adult)
        if modality == "MG":
            patient = replace(patient, sex="F")
        syntax = "j2k" if mishap == "corrupt-pixels" else chance.choice(_SYNTAXES[modality])
        exam = Exam(
            study_instance_uid=uid(*key, "study"),
            frame_of_reference_uid=uid(*key, "frame"),
            patient=patient,
            scanner=scanner,
            accession_number="" if chance.random() < 0.08 else f"A26{10_000 + chance.randrange(80_000)}{index:02d}",
            begins_at=begins_at,
            ends_at=begins_at + occupied,
            region=region,
            language=chance.choice(("de", "de", "en")),
            syntax=syntax,
            ivc_filter=ivc_filter,
            prefers_real=chance.random() < 0.7 or child,
            mishap=mishap,
            dirt=chance.choice(_DIRT),
        )
        if modality in ("CR", "DX") and mishap is None and index % 5 == 2:
            exam.pushed, exam.in_pacs = True, index % 2 == 1
        elif modality == "CT" and index == 1:
            exam.pushed = True
        exam.series = SeriesPlanner(exam, chance, key, self.size).series()
        return exam


class SeriesPlanner:
    """Draws the series of one exam and when each picture is taken."""

    def __init__(self, exam: Exam, chance: random.Random, key: tuple[object, ...], size: Size) -> None:
        self.exam, self.chance, self.key, self.size = exam, chance, key, size
        span = (exam.ends_at - exam.begins_at).total_seconds()
        self.clock = exam.begins_at + timedelta(seconds=span * 0.22)
        self.last = exam.ends_at - timedelta(seconds=span * 0.12)

    def series(self) -> list[Series]:
        """All series of the exam."""
        modality = self.exam.scanner.modality
        plans = {"CT": self._ct, "MR": self._mr, "US": self._ultrasound, "MG": self._mammogram}
        return plans.get(modality, self._films)()

    def _one(self, number: int, kind: str, description: str, count: int, seconds: float, **more: str | None) -> Series:
        """A series of `count` pictures taken over `seconds`."""
        modality = DOCUMENTS.get(kind, self.exam.scanner.modality)
        begins = self.clock
        images = [
            Image(
                uid(*self.key, number, place),
                place,
                begins + timedelta(seconds=round(seconds * (place - 1) / max(count - 1, 1), 3)),
            )
            for place in range(1, count + 1)
        ]
        self.clock = begins + timedelta(seconds=seconds + self.chance.uniform(4, 15))
        return Series(
            series_instance_uid=uid(*self.key, number),
            number=number,
            modality=modality,
            region=self.exam.region if kind != "dose-screen" and kind not in DOCUMENTS else None,
            kind=kind,
            description=description,
            images=images,
            contrast=more.get("contrast") or "",
            dirt=self.exam.dirt,
        )

    def _ct(self) -> list[Series]:
        low, high = self.size.ct_slices
        kernels = {"CHEST": ("SOFT", "LUNG"), "SKULL": ("SOFT", "BONE"), "ABDOMEN": ("SOFT", "SOFT")}[self.exam.region]
        result = [self._one(1, "localizer", "Topogramm" if self.exam.language == "de" else "Scout", 1, 2)]
        for number, kernel in enumerate(kernels, start=2):
            count = self.chance.randint(low, high)
            words = {"SOFT": "Weichteil 5.0 Br40", "LUNG": "Lunge 1.0 Bl57", "BONE": "Knochen 1.0 Hr64"}[kernel]
            result.append(self._one(number, "stack", words, count, self.chance.uniform(5, 14), contrast=kernel))
            if self.size.name == "tiny":
                break
        result.append(self._one(501, "dose-screen", "Patient Protocol", 1, 1))
        if self.key[-1] == 0:
            result.append(self._one(502, "dose-report", "Dose Report", 1, 1))
        return result

    def _mr(self) -> list[Series]:
        low, high = self.size.mr_slices
        weights = {"SKULL": ("T1", "T2", "FLAIR", "DWI"), "LSPINE": ("T1", "T2", "STIR"), "KNEE": ("PD", "T1", "T2")}
        wanted = weights[self.exam.region]
        if self.size.name == "tiny":
            wanted = wanted[:2]
        room = (self.last - self.clock).total_seconds() / (len(wanted) + 1)
        result = [self._one(1, "localizer", "localizer", 3, 12)]
        for number, weight in enumerate(wanted, start=2):
            count = self.chance.randint(low, high)
            description = f"{weight.lower()}_tse_{'sag' if self.exam.region != 'SKULL' else 'tra'}"
            result.append(self._one(number, "stack", description, count, room * 0.85, contrast=weight))
        return result

    def _films(self) -> list[Series]:
        region, result = self.exam.region, []
        sides: list[str | None] = [None]
        if region in PAIRED:
            sides = ["R", "L"] if self.chance.random() < 0.35 else [self.chance.choice("RL")]
        if self.exam.mishap == "two-patients":
            sides = [None, None]
        for number, side in enumerate(sides, start=1):
            view = {"CHEST": "AP" if self.exam.scanner.modality == "CR" else "PA", "CSPINE": "LL", "SKULL": "LL"}.get(
                region, "AP"
            )
            series = self._one(number, "film", view.lower(), 1, 1)
            series.images[0].view, series.images[0].laterality = view, side
            self.clock += timedelta(seconds=self.chance.uniform(20, 50))
            result.append(series)
        if self.exam.mishap is None and self.key[-2:] == ("CR", 1):
            result.append(self._one(900, "letter", "Anforderung", 1, 1))
        if self.key[-2:] in WRITTEN_ABOUT:
            result.append(self._one(601, "report", "Befund", 1, 1))
        if self.key[-2:] == WRITTEN_ABOUT[0]:
            result.append(self._one(602, "presentation", "Markierung", 1, 1))
            result.append(self._one(603, "key-note", "Demo", 1, 1))
        return result

    def _ultrasound(self) -> list[Series]:
        span = (self.last - self.clock).total_seconds()
        return [self._one(1, "ultrasound", "Abdomen", 2 if self.size.name == "tiny" else 8, span * 0.9)]

    def _mammogram(self) -> list[Series]:
        span = (self.last - self.clock).total_seconds()
        series = self._one(1, "mammogram", "Mammographie", 4, span * 0.8)
        for image, (view, side) in zip(
            series.images, (("CC", "R"), ("CC", "L"), ("MLO", "R"), ("MLO", "L")), strict=True
        ):
            image.view, image.laterality = view, side
        return [series]
