"""The six ways to search by body part: what SQL finds beside what the words of the definition say."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sluice.anatomy.fusion import fuse
from sluice.anatomy.regions import REGIONS
from sluice.anatomy.strategies import (
    COARSE,
    PEDIATRIC_BELOW_YEARS,
    Part,
    Strategy,
    UnknownPart,
    header_regions,
    matches,
    parts,
    strategy_sql,
)
from sluice.database import Database, select
from tests.ledger_rows import LedgerRows

OLD, NEW = "body_part-old-000000000000", "body_part-new-000000000000"
CHEST_AND_ABDOMEN, UPPER_LIMB, WHOLE_BODY = "416550000", "53120007", "38266002"


class Films:
    """Writes films with what header and models say of them."""

    def __init__(self, database: Database) -> None:
        self.rows, self.database, self.count = LedgerRows(database), database, 0
        self.model(OLD, "2026-01-01")

    def model(self, model_id: str, registered_at: str, stage: str = "production") -> None:
        row = {"model_id": model_id, "task": "body_part", "architecture": "a", "weights_sha256": "0" * 64, "card": {}}
        self.rows.put("model", row | {"registered_at": registered_at, "stage": stage})

    def film(
        self,
        header: str | None = None,
        examined: str | None = None,
        visible: list[str] | None = None,
        code: str | None = None,
        label: str = "others",
        station: str = "DX1",
        model: str = OLD,
        score: float = 0.9,
        modality: str = "DX",
        **instance: Any,
    ) -> str:
        """One film; without `examined` no model read it."""
        self.count += 1
        study = self.rows.study(self.count)
        series = self.rows.series(study, region=header, modality=modality, station_name=station)
        if code:
            self.database.execute(
                "update header_anatomy set sct_code = %s, region_key = %s, confidence = 0.9 "
                "where series_instance_uid = %s",
                (code, header, series),
            )
        uid = self.rows.instance(series, 1, **instance)
        if examined is not None:
            self.reads(uid, examined, visible, label, model, score)
        return uid

    def reads(
        self,
        uid: str,
        examined: str,
        visible: list[str] | None = None,
        label: str = "others",
        model: str = OLD,
        score: float = 0.9,
    ) -> None:
        detail = {"examined": examined, "visible": visible or [], "examined_score": score}
        detail["probabilities"] = {"examined36": {examined: score}}
        row = {"sop_instance_uid": uid, "model_id": model, "task": "body_part", "label": label, "score": score}
        self.rows.put("prediction", row | {"detail": detail})

    def found(self, strategy: str, part: str) -> set[str]:
        """What a search finds."""
        condition, params = strategy_sql(strategy, part)
        statement = f"select i.sop_instance_uid from instance i where {condition}"
        rows = select(self.rows.connection, statement, params)
        assert len(rows) == len({row["sop_instance_uid"] for row in rows})
        return {row["sop_instance_uid"] for row in rows}

    def answers(self) -> list[dict[str, Any]]:
        with self.database.transaction() as connection:
            return select(connection, "select * from body_part_answer")


@pytest.fixture
def films(database: Database) -> Films:
    return Films(database)


def test_sql_finds_by_every_strategy_and_region_what_its_definition_says(films: Films) -> None:
    chance = random.Random(5)
    keys = ["CHEST", "ABDOMEN", "KNEE", "PATELLA", "LSPINE"]
    films.model(NEW, "2026-02-01")
    for _ in range(60):
        header = chance.choice([*keys, None])
        code = CHEST_AND_ABDOMEN if header == "CHEST" and chance.random() < 0.5 else None
        visible = chance.sample([*keys, "NO_SUCH_REGION"], chance.randint(0, 3))
        uid = films.film(header, chance.choice([*keys[:4], None]), visible, code)
        if chance.random() < 0.3:
            films.reads(uid, chance.choice(keys), [], model=NEW)
    assert fuse(films.database).fused > 0
    defined = {row["sop_instance_uid"]: matches(row) for row in films.answers()}
    assert len(defined) == 60
    for strategy in Strategy:
        sizes = 0
        for region in REGIONS:
            expected = {uid for uid, by in defined.items() if region in by[strategy]}
            assert films.found(strategy, region) == expected, (strategy, region)
            sizes += len(expected)
        assert sizes > 10, strategy


def test_composites_count_for_all_members_and_a_coarse_word_only_for_its_group(films: Films) -> None:
    both = films.film("CHEST", code=CHEST_AND_ABDOMEN)
    coarse = films.film(None, code=UPPER_LIMB)
    whole = films.film(None, code=WHOLE_BODY)
    babygram = films.film("CHEST", code=WHOLE_BODY)
    assert films.found("header", "CHEST") == films.found("header", "ABDOMEN") == {both, babygram}
    assert films.found("header", "UPPERLIMB") == films.found("header", "LIMB") == {coarse}
    assert films.found("header", "HAND") == films.found("header", "LOWERLIMB") == set()
    assert whole not in films.found("header", "TRUNK")
    assert header_regions("CHEST", CHEST_AND_ABDOMEN) == {"CHEST", "ABDOMEN"}
    assert header_regions(None, WHOLE_BODY) == frozenset()


def test_the_newest_production_model_counts_and_an_older_one_until_it_has_read(films: Films) -> None:
    read_twice, read_once = films.film(None, "KNEE"), films.film(None, "KNEE")
    films.model(NEW, "2026-02-01")
    films.reads(read_twice, "HAND", model=NEW)
    fuse(films.database)
    for strategy in ("examined", "visible", "fused"):
        assert films.found(strategy, "KNEE") == {read_once}
        assert films.found(strategy, "HAND") == {read_twice}
    films.database.execute("update model set stage = 'shadow' where model_id = %s", (NEW,))
    fuse(films.database)
    for strategy in ("examined", "fused"):
        assert films.found(strategy, "KNEE") == {read_once, read_twice}


def test_chests_are_told_apart_by_age_and_one_without_an_age_is_an_adults_unless_the_model_says_otherwise(
    films: Films,
) -> None:
    child = films.film("CHEST", "CHEST", ["CHEST"], label="pediatric_chest", patient_age_years=4.0)
    adult = films.film("CHEST", "CHEST", ["CHEST"], label="adult_chest", patient_age_years=40.0)
    unknown = films.film("CHEST", "CHEST", ["CHEST"], label="pediatric_chest", patient_age_years=None)
    unread = films.film("CHEST", patient_age_years=14.9)
    assert films.found("header", "pediatric_chest") == {child, unread}
    assert films.found("header", "adult_chest") == {adult, unknown}
    assert films.found("examined", "pediatric_chest") == {child, unknown}
    assert films.found("visible", "pediatric_chest") == {child, unknown}
    assert films.found("visible", "adult_chest") >= films.found("examined", "adult_chest") == {adult}


def test_examined_is_within_visible_and_intersection_within_both_for_every_part(films: Films) -> None:
    for number, label in enumerate(("abdominal", "adult_chest", "pediatric_chest", "spine", "others")):
        for header in ("CHEST", "LSPINE", "HAND", None):
            films.film(header, "KNEE", ["CHEST"], label=label, patient_age_years=10.0 * number or None)
    for part in parts():
        found = {strategy: films.found(strategy, part) for strategy in Strategy}
        assert found[Strategy.EXAMINED] <= found[Strategy.VISIBLE], part
        assert found[Strategy.INTERSECTION] == found[Strategy.HEADER] & found[Strategy.VISIBLE], part
        assert found[Strategy.UNION] == found[Strategy.HEADER] | found[Strategy.VISIBLE], part


def test_two_conditions_stand_in_one_statement_and_an_unknown_part_is_named(films: Films) -> None:
    wanted = films.film("HAND", "WRIST", ["WRIST"])
    films.film("HAND", "KNEE")
    (header, first), (seen, second) = (
        strategy_sql("header", "HAND", prefix="a"),
        strategy_sql("visible", "WRIST", "i", "b"),
    )
    statement = f"select i.sop_instance_uid from instance i where {header} and {seen}"
    with films.database.transaction() as connection:
        assert select(connection, statement, first | second) == [{"sop_instance_uid": wanted}]
    with pytest.raises(UnknownPart, match="Did you mean KNEE"):
        Part.of("KNEES")
    with pytest.raises(ValueError, match="guess"):
        strategy_sql("guess", "KNEE")


def test_parts_agree_with_what_the_models_speak_and_coarse_words_with_groups() -> None:
    from models.labels import PEDIATRIC_BELOW_YEARS as BY_THE_MODELS
    from models.labels import REGIONS36, ROUTER5

    assert {*REGIONS36, *ROUTER5, *COARSE.values()} <= set(parts())
    assert PEDIATRIC_BELOW_YEARS == BY_THE_MODELS
