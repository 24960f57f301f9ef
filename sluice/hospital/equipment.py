"""The hospital's scanners: who made them, where they stand, and how wrong their clocks are."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

SUMMER_TIME_S = 3600.0


@dataclass(frozen=True)
class Scanner:
    """One scanner of the hospital.

    Attributes:
        station_name: also its AE title, as hospitals often do.
        offset_s: its clock minus true time at noon of the day, seconds, the summer-time slip included.
        drift_s_per_day: how much the offset grows a day, seconds.
        dst_slip: nobody changed its clock when summer time ended.
        writes_offset: whether it writes Timezone Offset From UTC (0008,0201).
    """

    station_name: str
    modality: str
    manufacturer: str
    model_name: str
    software: str
    serial: str
    department: str
    room: str
    offset_s: float = 0.0
    drift_s_per_day: float = 0.0
    dst_slip: bool = False
    writes_offset: bool = False

    def reads(self, moment: datetime) -> datetime:
        """What this scanner's clock shows at a true local `moment`."""
        noon = datetime.combine(moment.date(), time(12, 0))
        days = (moment - noon).total_seconds() / 86_400
        return moment + timedelta(seconds=self.offset_s + self.drift_s_per_day * days)


# station, modality, manufacturer, model, software, serial, department, room
_MODELS: tuple[tuple[str, str, str, str, str, str, str, str], ...] = (
    ("CT01", "CT", "Siemens Healthineers", "SOMATOM Force", "syngo CT VB20A", "73412", "Radiology", "R1.101"),
    ("CT02", "CT", "GE MEDICAL SYSTEMS", "Revolution CT", "revo_ct_21a.33", "CTREV01997", "Emergency", "E0.012"),
    ("CT03", "CT", "CANON_MEC", "Aquilion ONE", "V10.6ER001", "8CA2032117", "Oncology", "O2.204"),
    ("MR01", "MR", "SIEMENS", "MAGNETOM Vida", "syngo MR XA31", "175641", "Radiology", "R1.115"),
    ("MR02", "MR", "Philips Healthcare", "Ingenia Ambition X", "5.7.1\\5.7.1.2", "45082", "Neuroradiology", "N3.007"),
    (
        "MR03",
        "MR",
        "GE MEDICAL SYSTEMS",
        "SIGNA Architect",
        "29\\LX\\MR29.1_EA",
        "000000312MRART",
        "Orthopaedics",
        "K1.033",
    ),
    ("DX01", "DX", "Siemens Healthineers", "Ysio Max", "VG10F", "2417", "Radiology", "R0.001"),
    (
        "DX02",
        "DX",
        "Philips Medical Systems",
        "DigitalDiagnost",
        "2.1.4\\PMS81.101.1.1",
        "SN15000914",
        "Emergency",
        "E0.004",
    ),
    ("DX03", "DX", "Carestream Health", "DRX-Evolution", "5.7.607.7", "D0513422", "Orthopaedics", "K0.010"),
    ("CR01", "CR", "FUJIFILM Corporation", "5000", "A13", "CR-IR348-00932", "Paediatrics", "P1.018"),
    ("CR02", "CR", "Agfa-Gevaert AG", "DX-M", "NIM2112", "A5X0771", "Intensive care", "I4.MOB"),
    ("US01", "US", "Philips Medical Systems", "EPIQ 7G", "EPIQ 7G_9.0.3", "US318B0641", "Internal medicine", "M2.040"),
    ("US02", "US", "GE Healthcare Ultrasound", "LOGIQ E9", "R6.2.5", "LE9-311207", "Paediatrics", "P1.022"),
    ("MG01", "MG", "HOLOGIC, Inc.", "Selenia Dimensions", "AWS:1.10.1.4", "81012205413", "Breast centre", "B1.003"),
)

SLIPPED = "MR02"
WELL_KEPT = ("CT01", "DX01")


def scanners(seed: int, day: date) -> list[Scanner]:
    """The scanners with the clocks they have on `day`.

    Two follow the hospital's time server to a fraction of a second, one was forgotten when summer time ended,
    the others run seconds to minutes off and drift.
    """
    chance = random.Random(f"{seed}/{day}/clocks")
    result = []
    for model in _MODELS:
        station = model[0]
        if station in WELL_KEPT:
            offset, drift = chance.uniform(-0.4, 0.4), chance.uniform(-0.05, 0.05)
        else:
            offset = chance.choice((-1, 1)) * chance.choice((8.0, 30.0, 75.0, 190.0, 420.0)) * chance.uniform(0.7, 1.3)
            drift = chance.uniform(-9.0, 9.0)
        if station == SLIPPED:
            offset = SUMMER_TIME_S + chance.uniform(-25.0, 25.0)
        result.append(
            Scanner(
                *model,
                offset_s=round(offset, 3),
                drift_s_per_day=round(drift, 3),
                dst_slip=station == SLIPPED,
                writes_offset=station in ("CT01", "MR01", "DX02"),
            )
        )
    return result


def stations() -> list[str]:
    """The AE titles of all scanners."""
    return [model[0] for model in _MODELS]
