"""A filter's SQL beside the plain reading of it, over a small hospital; and that a filter's text never becomes SQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg2.extensions import connection as Connection  # noqa: N812

from sluice.cohorts.compile import selected
from sluice.cohorts.conditions import Parameters, text
from sluice.cohorts.criteria import Criterion
from sluice.cohorts.fields import Level
from sluice.cohorts.language import parse
from sluice.database import select
from sluice.stack.postgres import EmbeddedPostgres
from tests.cohorts.small import CREATOR, CT, DX, ROOT, TODAY, SmallHospital, chosen
from tests.conftest import temporary_database


@pytest.fixture(scope="module")
def hospital(postgres: EmbeddedPostgres) -> Iterator[tuple[Connection, SmallHospital]]:
    with temporary_database(postgres) as database:
        small = SmallHospital(database)
        connection = database.connect()
        connection.autocommit = True
        connection.cursor().execute("set jit = off; analyze")
        yield connection, small
        connection.close()


def uids(connection: Connection, asked: Any, level: Level = Level.INSTANCE, **limits: Any) -> set[str]:
    statement = selected(parse(asked), level, today=TODAY, **limits)
    rows = select(connection, statement.sql, statement.params)
    found = [row["uid"] for row in rows]
    assert len(found) == len(set(found))
    return set(found)


WORDS = st.sampled_from(
    ["Thorax", "thorax/abdomen", "KNIE", "re.", "100%", "_", "\\", "'; drop table study; --", "nativ"]
)
TEXT = st.one_of(
    st.sampled_from(["CT Thorax", ["MRT Knie re.", "x"]]),
    st.fixed_dictionaries({}, optional={"contains": WORDS, "starts_with": WORDS, "word": WORDS}).filter(bool),
    st.fixed_dictionaries({"like": st.sampled_from(["*knie*", "CT?Thorax", "100%*", "*\\*"])}),
    st.fixed_dictionaries({"missing": st.booleans()}),
)


def numbers(values: list[float]) -> st.SearchStrategy[Any]:
    value = st.sampled_from(values)
    return st.one_of(
        value,
        st.lists(value, min_size=1, max_size=2),
        st.builds(lambda one, other: {"between": sorted((one, other))}, value, value),
        st.dictionaries(st.sampled_from(["min", "above"]), value, min_size=1, max_size=1),
        st.dictionaries(st.sampled_from(["max", "below", "is"]), value, min_size=1, max_size=1),
        st.fixed_dictionaries({"present": st.booleans()}),
    )


DAYS = st.sampled_from([TODAY - timedelta(days=days) for days in (0, 3, 30, 100, 300)])
DATES = st.one_of(
    DAYS,
    st.builds(lambda one, other: {"between": sorted((one, other))}, DAYS, DAYS),
    st.builds(lambda one: {"from": one}, DAYS),
    st.builds(lambda one: {"year": one}, st.sampled_from([2026, [2025, 2024]])),
    st.builds(lambda one: {"last_days": one}, st.sampled_from([1, 30, 365])),
    st.fixed_dictionaries({"missing": st.booleans()}),
)
ECHO = {"tag": "0018,0081"}
LEAVES = st.one_of(
    st.builds(lambda asked: {"study_description": asked}, TEXT),
    st.builds(lambda asked: {"modality": asked}, st.sampled_from(["ct", ["MR", "DX"], {"missing": True}])),
    st.builds(lambda asked: {"sex": asked}, st.sampled_from(["M", {"present": True}])),
    st.builds(lambda asked: {"study_date": asked}, DATES),
    st.builds(lambda asked: {"age": asked}, numbers([10, 14, 15, 65])),
    st.builds(lambda asked: {"slice_thickness": asked}, numbers([0.5, 1.5, 5])),
    st.builds(lambda asked: {"rows": asked}, numbers([512, 1024])),
    st.builds(lambda asked: {"instance_number": asked}, numbers([1, 2, 3])),
    st.builds(lambda asked: {"station": asked}, st.sampled_from(["CT1", ["ct1", "CT2"], {"starts_with": "c"}])),
    st.builds(lambda asked: {"sop_class": asked}, st.sampled_from([CT, [DX]])),
    st.builds(
        lambda asked: {"image_type": asked},
        st.sampled_from(["PRIMARY", {"all_of": ["DERIVED", "mpr"]}, {"missing": True}]),
    ),
    st.builds(lambda asked: {"burned_in": asked}, st.booleans()),
    st.builds(lambda asked: ECHO | {"is": asked}, numbers([10, 30.5, 90])),
    st.builds(lambda asked: {"tag": "0018,1030", "is": asked}, TEXT),
    st.builds(lambda asked: {"tag": "0008,0022", "is": asked}, DATES),
    st.builds(lambda asked: {"tag": "0008,2218.0008,0100", "is": asked}, st.sampled_from(["t-2", "T-3"])),
    st.builds(lambda asked: {"tag": "0019,xx0C", "creator": CREATOR, "is": asked}, numbers([50, 1000])),
    st.builds(
        lambda rule, severity, held: {"quality": {"held": held} | rule | severity},
        st.sampled_from([{}, {"rule": "blank"}, {"rule": ["doubt", "odd"]}]),
        st.sampled_from([{}, {"severity": "stop"}]),
        st.booleans(),
    ),
    st.builds(
        lambda label, score, view: {"prediction": {"task": "body_part"} | label | score | view},
        st.sampled_from([{}, {"label": "others"}]),
        st.sampled_from([{}, {"score": {"min": 0.9}}]),
        st.sampled_from([{}, {"view": "AP"}, {"view": ["PA", "LATERAL"]}]),
    ),
    st.builds(
        lambda part, by: {"body_part": {"is": part, "by": by}},
        st.sampled_from(["CHEST", ["KNEE", "CHEST"], "FEMUR"]),
        st.sampled_from(["header", "examined", "visible", "union", "intersection", "fused"]),
    ),
)


def compound(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    count = st.builds(lambda one: {"min": one}, st.integers(1, 4))
    without_tag = inner.map(lambda one: {"all": [one]})
    return st.one_of(
        st.builds(lambda parts: {"all": parts}, some),
        st.builds(lambda parts: {"any": parts}, some),
        st.builds(lambda part: {"not": part}, inner),
        st.builds(
            lambda part, key, counts: {key: part | counts},
            without_tag,
            st.sampled_from(["has", "series_has"]),
            st.fixed_dictionaries({}, optional={"instances": count}),
        ),
        st.builds(
            lambda part, counts: {"patient_has": part | counts},
            without_tag,
            st.fixed_dictionaries(
                {},
                optional={
                    "studies": count,
                    "series": count,
                    "instances": count,
                    "days_before": st.sampled_from([{"min": 1}, {"max": 0}, {"between": [-30, 300]}]),
                },
            ),
        ),
    )


@settings(max_examples=300)
@given(asked=st.recursive(LEAVES, compound, max_leaves=6))
def test_selects_what_the_plain_reading_selects(
    hospital: tuple[Connection, SmallHospital], asked: dict[str, Any]
) -> None:
    connection, small = hospital
    assert uids(connection, asked) == chosen(asked, small.instances)


def test_plain_reading_tells_expressions_apart(hospital: tuple[Connection, SmallHospital]) -> None:
    """The comparison above would be worth nothing if most expressions selected nothing or everything."""
    _, small = hospital
    sizes = {
        name: len(chosen(asked, small.instances))
        for name, asked in {
            "held": {"quality": {"held": True}},
            "element": ECHO | {"is": {"max": 30.5}},
            "private": {"tag": "0019,xx0C", "creator": CREATOR, "is": 1000},
            "fused": {"body_part": {"is": "KNEE", "by": "fused"}},
            "before": {"patient_has": {"modality": "CT", "days_before": {"min": 1}}},
        }.items()
    }
    assert all(0 < size < len(small.instances) for size in sizes.values()), sizes


def test_studies_and_series_that_hold_a_match(hospital: tuple[Connection, SmallHospital]) -> None:
    connection, small = hospital
    asked = {"all": [{"modality": "DX"}, {"not": {"quality": {"held": True}}}]}
    matching = [one for one in small.instances if one["sop_instance_uid"] in chosen(asked, small.instances)]
    for level in (Level.STUDY, Level.SERIES):
        assert uids(connection, asked, level) == {one[f"{level}_instance_uid"] for one in matching}
    with pytest.raises(ValueError, match="not of blocks"):
        uids(connection, asked, Level.BLOCK)


def test_limited_to_studies_but_not_what_their_patients_have(hospital: tuple[Connection, SmallHospital]) -> None:
    connection, small = hospital
    asked = {"patient_has": {"studies": {"min": 2}}}
    (study, *_) = sorted(one["study_instance_uid"] for one in small.instances if one["patient_id"] == "PAT-0")
    expected = chosen(asked, small.instances)
    assert expected
    assert uids(connection, asked, studies=[study]) == {
        one["sop_instance_uid"]
        for one in small.instances
        if one["study_instance_uid"] == study and one["sop_instance_uid"] in expected
    }


@pytest.mark.parametrize(
    "evil", ["'; drop table study; --", "%(v9)s", "%s %", "\\' or 1=1", '"}', "$.Value[*]", "a.*("]
)
def test_values_are_bound(hospital: tuple[Connection, SmallHospital], evil: str) -> None:
    connection, _ = hospital
    for asked in (
        {"study_description": {"contains": evil, "word": evil, "like": evil, "starts_with": evil, "is": evil}},
        {"image_type": {"all_of": [evil]}},
        {"tag": "0018,1030", "is": {"word": evil}},
        {"tag": "0019,xx0C", "creator": evil, "vr": "LO", "is": evil},
        {"prediction": {"task": evil, "label": evil, "model": evil}},
        {"quality": {"rule": evil}},
    ):
        statement = selected(parse(asked), Level.INSTANCE, TODAY)
        assert evil not in statement.sql
        assert uids(connection, asked) == set()
    assert uids(connection, {"study_uid": f"{ROOT}.1"})


@pytest.mark.parametrize("locale", ["default", "C"])
@pytest.mark.parametrize("written", ["MÜNCHEN Süd", "İSTANBUL", "GROẞE STRASSE", "ΟΔΟΣ"])
def test_a_text_is_found_by_itself_whatever_letters_it_has(
    hospital: tuple[Connection, SmallHospital], written: str, locale: str
) -> None:
    connection, _ = hospital
    value = f'(%(written)s::text collate "{locale}")'
    for operator in ("is", "contains", "starts_with", "word", "like"):
        bound = Parameters()
        said = text(value, Criterion(operator, (written,)), bound)
        said = said.replace("lower(x)", f'lower(x collate "{locale}")')  # as the database's own
        (row,) = select(connection, f"select {said} as found", bound.values | {"written": written})
        assert row["found"] is True, operator


@pytest.mark.parametrize(
    ("written", "number"),
    [
        (f"{'9' * 301}e99", None),  # what headers may hold, and doubles may not
        (f"0.{'0' * 299}1e-99", None),
        (f"-{'9' * 300}e99", None),
        ("1e99", 1e99),
        ("1e-99", 1e-99),
        ("-30.50", -30.5),
        ('" 7 "', 7.0),
        ('"1e400"', None),
        ('"NaN"', None),
    ],
)
def test_a_number_out_of_range_is_none_and_no_error(
    hospital: tuple[Connection, SmallHospital], written: str, number: float | None
) -> None:
    (row,) = select(hospital[0], "select json_number(%s::jsonb) as number", (written,))
    assert row["number"] == number
