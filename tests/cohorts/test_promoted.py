"""Filters by promoted elements beside the same filters by the elements, over blocks that have them alike and others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sluice.cohorts.compile import selected
from sluice.cohorts.fields import Level
from sluice.cohorts.language import parse
from sluice.cohorts.preview import preview
from sluice.cohorts.promoted import registry_of
from sluice.database import Database, select
from sluice.headers.promotion import fill, promote
from sluice.stack.postgres import EmbeddedPostgres
from tests.cohorts.small import TODAY, SmallHospital, chosen
from tests.conftest import temporary_database


@pytest.fixture(scope="module")
def hospital(postgres: EmbeddedPostgres) -> Iterator[tuple[Database, SmallHospital]]:
    with temporary_database(postgres, as_owner=True) as database:
        small = SmallHospital(database, seed=5)
        for column in (promote(database, "EchoTime", "echo", "real"), promote(database, "00181030", "words", "text")):
            list(fill(database, column))
        yield database, small


@pytest.mark.parametrize(
    ("name", "tag", "asked"),
    [
        ("echo", "0018,0081", {"max": 31}),
        ("echo", "0018,0081", 30.5),
        ("words", "0018,1030", {"word": "thorax"}),
        ("words", "0018,1030", {"missing": True}),
        ("words", "0018,1030", {"present": True}),
    ],
)
def test_a_promoted_element_answers_as_the_element_does(
    hospital: tuple[Database, SmallHospital], name: str, tag: str, asked: Any
) -> None:
    database, small = hospital
    registry = registry_of(database)
    element = {"tag": tag, "is": asked}
    for around in (lambda one: one, lambda one: {"not": one}, lambda one: {"any": [one, {"instance_number": 1}]}):
        expected = chosen(around(element), small.instances)
        statement = selected(parse(around({name: asked}), registry), Level.INSTANCE, TODAY)
        with database.transaction() as connection:
            assert {row["uid"] for row in select(connection, statement.sql, statement.params)} == expected
        assert preview(database, parse(around({name: asked}), registry), TODAY).here.instances == len(expected) > 0


def test_blocks_have_what_their_instances_have_alike(hospital: tuple[Database, SmallHospital]) -> None:
    database, _ = hospital
    with database.transaction() as connection:
        rows = select(
            connection,
            "select b.p_echo, 'echo' = any(b.promoted_differ) as differ, "
            "array(select distinct i.echo from instance i where i.block_id = b.block_id) as each from cohort_block b",
        )
    assert {row["differ"] for row in rows} == {True, False}
    for row in rows:
        assert row["differ"] == (len(row["each"]) > 1)
        assert row["p_echo"] == (None if row["differ"] else row["each"][0])


def test_a_column_that_was_promoted_under_a_word_of_the_language_is_no_field(database: Database) -> None:
    for name in ("tag", "not", "instances", "fine"):  # as an older version let people do
        database.execute("insert into promoted_column (name, path, type) values (%s, '0018,0081', 'real')", (name,))
    assert {"tag", "not", "instances", "fine"} & set(registry_of(database).fields) == {"fine"}
