"""Films of which the header alone says the body part with certainty: the network need not be asked.

Certain is a header that names one region, in words that are read without doubt, at a place and a station where headers
were right so often among so many films (`header_reliability`, learned by `sluice.anatomy.fusion`); of a chest, if the
patient's age is known too. A sample of such films is shown to the network nevertheless. Where it is sure of another
region more often than headers may be wrong, that station's headers decide nothing any more.

What the header says is kept apart from what models say (`header_answer`): headers are judged by models, and a header
that vouches for itself would always be right.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

from sluice.anatomy.fusion import UNSURE_BELOW
from sluice.anatomy.regions import REGIONS
from sluice.anatomy.strategies import PEDIATRIC_BELOW_YEARS, header_regions
from sluice.database import Database, copy_rows

LATEST = 400  # audited films of a station that are looked back at


@dataclass(frozen=True)
class Certainty:
    """When a header decides.

    Attributes:
        reliability: how often headers of its place and station have to be right at least.
        films: among how many films that has to have been learned.
        audited: share of the films that are shown to the network nevertheless.
    """

    reliability: float = 0.99
    films: int = 500
    audited: float = 0.05


@dataclass(frozen=True)
class HeaderAnswer:
    """What a header decides of a film; `audited` where the network is asked as well."""

    sop_instance_uid: str
    fusion_id: int
    source_tag: str
    station_name: str
    region_key: str
    router5: str
    reliability: float
    audited: bool


def decide(
    database: Database, model_id: str, ages: dict[str, float | None], certainty: Certainty
) -> dict[str, HeaderAnswer]:
    """Keep what headers decide in place of a model, by SOP Instance UID; films that are not in it are to be read.

    Args:
        ages: patients' ages in years by SOP Instance UID, of the films in question.
    """
    rows = database.rows("header_fast_path", {"uids": list(ages)})
    distrusted = _distrusted(database, certainty)
    decided = {}
    for row in rows:
        answer = _answer(row, ages[row["sop_instance_uid"]], certainty)
        if answer is not None and (answer.source_tag, answer.station_name) not in distrusted:
            decided[answer.sop_instance_uid] = answer
    names = ("sop_instance_uid", "model_id", "fusion_id", "source_tag", "station_name", "region_key", "router5")
    with database.transaction() as connection:
        copy_rows(
            connection,
            "header_answer",
            (*names, "reliability", "audited"),
            (
                (uid, model_id, one.fusion_id, one.source_tag, one.station_name, one.region_key, one.router5,
                 one.reliability, one.audited)
                for uid, one in sorted(decided.items())
            ),
        )  # fmt: skip
    return decided


def compare(database: Database, model_id: str) -> int:
    """Write beside each audited header what the network said; returns how many there were."""
    return database.execute(
        """
        update header_answer h
           set model_region = p.detail ->> 'examined',
               model_confident = coalesce((p.detail ->> 'examined_confident')::boolean, false)
          from prediction p
         where h.model_id = %(model_id)s and h.audited and h.model_region is null
           and p.sop_instance_uid = h.sop_instance_uid and p.model_id = h.model_id
           and p.detail ->> 'examined' is not null
        """,
        {"model_id": model_id},
    )


def audited(sop_instance_uid: str, share: float) -> bool:
    """Whether a film is in the sample: drawn by its UID, so that it is the same each time."""
    drawn = int.from_bytes(hashlib.sha256(sop_instance_uid.encode()).digest()[:8])
    return drawn < share * 2**64


def _answer(row: dict[str, Any], age: float | None, certainty: Certainty) -> HeaderAnswer | None:
    named = header_regions(row["region_key"], row["sct_code"])
    if len(named) != 1 or row["confidence"] < UNSURE_BELOW:
        return None
    if row["films"] < certainty.films or row["reliability"] < certainty.reliability:
        return None
    (region,) = named
    if region not in REGIONS:
        return None
    router5 = REGIONS[region].router5
    if "|" in router5:  # a chest is an adult's or a child's
        if age is None:
            return None
        router5 = "pediatric_chest" if age < PEDIATRIC_BELOW_YEARS else "adult_chest"
    uid = row["sop_instance_uid"]
    of_source = (row["fusion_id"], row["source_tag"], row["station_name"])
    return HeaderAnswer(uid, *of_source, region, router5, row["reliability"], audited(uid, certainty.audited))


def _distrusted(database: Database, certainty: Certainty) -> set[tuple[str, str]]:
    """Sources and stations whose audits say, at 95 %, that headers are wrong more often than they may be."""
    return {
        (row["source_tag"], row["station_name"])
        for row in database.rows("header_audits", {"latest": LATEST})
        if least_share(row["differing"], row["audited"]) > 1 - certainty.reliability
    }


def least_share(count: int, of: int) -> float:
    """Lower end of Wilson's 95 % interval of a share (E. B. Wilson, JASA 22 (1927) 209-212)."""
    if of == 0:
        return 0.0
    z, share = 1.96, count / of
    middle = share + z * z / (2 * of)
    return float((middle - z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))) / (1 + z * z / of))
