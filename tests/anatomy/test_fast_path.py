"""Headers that decide in place of the network: which do, which are compared, and when they are trusted no more."""

from __future__ import annotations

from typing import Any

import pytest

from sluice.anatomy.fast_path import Certainty, audited, compare, decide, least_share
from sluice.database import Database, select
from sluice.predictions import Prediction, register_model, store
from tests.ledger_rows import DX_IMAGE, LedgerRows

MODEL = "body_part-small-abababababab"
TAG = "(0018,0015)"
SURE = Certainty(reliability=0.99, films=500, audited=0.25)


class Films:
    """Films of stations, and what was learned of their headers."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows = LedgerRows(database)
        self.study = self.rows.study(1)
        self.series = 0
        register_model(database, MODEL, "body_part", "small", "ab" * 32, {})
        database.execute("insert into fusion (model_id, films, parameters) values (%s, 20000, '{}')", (MODEL,))

    def learned(self, station: str, reliability: float, films: int = 5000, doubtful: bool = False) -> None:
        names = ("fusion_id", "source_tag", "doubtful", "station_name", "films", "agreeing", "reliability")
        values = (1, TAG, doubtful, station, films, films, reliability)
        self.rows.put("header_reliability", dict(zip(names, values, strict=True)))

    def add(self, station: str, region: str | None, count: int = 1, **anatomy: Any) -> list[str]:
        self.series += 1
        uid = self.rows.series(self.study, self.series, region=None, modality="DX", station_name=station)
        self.database.execute("delete from header_anatomy where series_instance_uid = %s", (uid,))
        row = {"series_instance_uid": uid, "region_key": region, "source_tag": TAG, "confidence": 0.95}
        self.rows.put("header_anatomy", row | anatomy)
        return [self.rows.instance(uid, number, sop_class_uid=DX_IMAGE) for number in range(1, count + 1)]


@pytest.fixture
def films(database: Database) -> Films:
    made = Films(database)
    made.learned("GOOD", 0.995)
    made.learned("FEW", 0.999, films=100)
    made.learned("WRONG", 0.9)
    made.learned("UNSURE", 0.999, doubtful=True)
    return made


def test_only_a_header_that_is_certain_decides(films: Films, database: Database) -> None:
    knee, *_ = films.add("GOOD", "KNEE")
    adult, child, ageless = films.add("GOOD", "CHEST", 3)
    others = films.add("FEW", "KNEE") + films.add("WRONG", "KNEE") + films.add("UNSURE", "KNEE")
    others += films.add("GOOD", "KNEE", confidence=0.3) + films.add("GOOD", None) + films.add("NEVER SEEN", "KNEE")
    others += films.add("GOOD", "CHEST", sct_code="416775004")  # chest, abdomen and pelvis
    ages: dict[str, float | None] = dict.fromkeys([knee, *others], 50.0)
    decided = decide(database, MODEL, ages | {adult: 44.0, child: 3.0, ageless: None}, SURE)
    assert {uid: one.router5 for uid, one in decided.items()} == {
        knee: "others",
        adult: "adult_chest",
        child: "pediatric_chest",
    }
    again = decide(database, MODEL, ages | {adult: 44.0, child: 3.0, ageless: None}, SURE)
    assert again == decided
    with database.transaction() as connection:
        rows = select(connection, "select sop_instance_uid, region_key, reliability from header_answer")
        predictions = select(connection, "select * from prediction")
    assert {row["sop_instance_uid"] for row in rows} == set(decided)
    assert predictions == [], "a header is no model's answer"


def test_a_share_is_compared_and_a_station_whose_headers_differ_is_trusted_no_more(
    films: Films, database: Database
) -> None:
    uids = films.add("GOOD", "KNEE", 200)
    ages: dict[str, float | None] = dict.fromkeys(uids, 50.0)
    decided = decide(database, MODEL, ages, SURE)
    sample = [uid for uid, one in decided.items() if one.audited]
    assert 30 <= len(sample) <= 70
    assert sample == [uid for uid in decided if audited(uid, SURE.audited)], "the same each time"

    def said(wrong: int) -> None:
        details = [
            {"examined": "HAND" if at < wrong else "KNEE", "examined_confident": True} for at in range(len(sample))
        ]
        answers = [Prediction(uid, "others", 0.9, said) for uid, said in zip(sample, details, strict=True)]
        store(database, MODEL, "body_part", answers)

    said(wrong=6)
    assert compare(database, MODEL) == len(sample)
    assert compare(database, MODEL) == 0
    with database.transaction() as connection:
        (row,) = select(connection, "select count(*) as n from header_answer where model_region <> region_key")
    assert row["n"] == 6
    assert decide(database, MODEL, dict.fromkeys(films.add("GOOD", "KNEE", 3), 50.0), SURE) == {}


def test_a_chance_difference_is_no_reason_to_distrust() -> None:
    assert least_share(0, 0) == 0.0
    assert least_share(1, 100) < 0.01 < least_share(6, 50)
