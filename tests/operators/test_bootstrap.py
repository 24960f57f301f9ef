"""The set-up is repeatable, follows the environment, and leaves alone what a person edited."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from operators.bootstrap import bootstrap, main, wanted_connections
from sluice.database import Database
from sluice.pacs.governor.policy import Limits, change_policy, current_policy
from sluice.settings import FirstConnections, Settings

pytestmark = pytest.mark.airflow


def first(**changes: Any) -> FirstConnections:
    values: dict[str, Any] = {
        "pacs_host": "pacs.example",
        "pacs_port": 104,
        "pacs_ae_title": "ARCHIVE",
        "s3_endpoint": "http://s3.example:9000",
        "s3_access_key": "key-of-ours",
        "s3_secret_key": SecretStr("secret-of-ours"),
        "s3_bucket": "releases",
    }
    return FirstConnections(**values | changes)


@pytest.fixture
def run(airflow: Any, database: Database) -> Any:
    """Run the set-up on clean connections and pools and return what it said."""
    from airflow.models import Pool
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    def clean() -> None:
        with create_session() as session:
            session.execute(delete(Connection))
            session.execute(delete(Pool).where(Pool.pool != "default_pool"))

    def set_up(force: bool = False, **changes: Any) -> list[str]:
        said: list[str] = []
        bootstrap(Settings(database_url=database.url), first(**changes), force, said.append)
        return said

    clean()
    yield set_up
    clean()


def edit(conn_id: str, **fields: Any) -> None:
    """What a person does in the form, which sends the description back as it was."""
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        stored = session.scalar(select(Connection).where(Connection.conn_id == conn_id))
        for name, value in fields.items():
            setattr(stored, name, value)


def stored(conn_id: str) -> Any:
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalar(select(Connection).where(Connection.conn_id == conn_id))
        session.expunge_all()
        return found


def test_twice_does_the_work_once(run: Any) -> None:
    assert [line for line in run() if "created" in line] == [
        "Connection sluice_db: created.",
        "Connection pacs_main: created.",
        "Connection sluice_s3: created.",
        "Pool pacs_main: created.",
        "Pool gpu: created.",
    ]
    again = run()
    assert not [line for line in again if "created" in line or "updated" in line]


def test_the_hours_of_the_pacs_can_be_set_before_it_is_asked(run: Any, database: Database) -> None:
    run(pacs_max_associations=3)
    with database.transaction() as connection:
        policy = current_policy(connection, "pacs_main")
    assert policy is not None
    assert (policy.full.concurrency, policy.gentle.concurrency) == (3, 3)
    changed = replace(policy, full=Limits(1))
    change_policy(database, "pacs_main", changed, "otto")
    run(pacs_max_associations=3)
    with database.transaction() as connection:
        assert current_policy(connection, "pacs_main") == changed, "what a person set stays"


def test_a_changed_environment_updates_what_nobody_edited(run: Any) -> None:
    run()
    assert "Connection pacs_main: updated." in run(pacs_port=11113)
    assert stored("pacs_main").port == 11113


def test_an_edited_connection_is_kept_until_forced(run: Any) -> None:
    run()
    edit("pacs_main", host="real-pacs.example")
    (line,) = [line for line in run(pacs_port=11113) if "pacs_main: kept" in line]
    assert "--force" in line
    assert (stored("pacs_main").host, stored("pacs_main").port) == ("real-pacs.example", 104)
    assert "Connection pacs_main: updated." in run(force=True, pacs_port=11113)
    assert (stored("pacs_main").host, stored("pacs_main").port) == ("pacs.example", 11113)


def test_an_edited_secret_counts_as_edited(run: Any) -> None:
    run()
    edit("sluice_s3", password="rotated-by-a-person")
    assert [line for line in run(s3_endpoint="http://other.example") if "sluice_s3: kept" in line]
    assert stored("sluice_s3").password == "rotated-by-a-person"


def test_nothing_said_or_described_shows_a_secret(run: Any, database: Database) -> None:
    said = "\n".join(run())
    described = "\n".join(str(stored(name).description) for name in ("sluice_db", "sluice_s3", "pacs_main"))
    password = database.url.split(":")[2].split("@")[0]
    for secret in ("secret-of-ours", password):
        assert secret not in said + described
    assert "secret-of-ours" not in repr(wanted_connections(Settings(database_url=database.url), first()))


def test_pools_follow_the_pacs_and_keep_a_persons_size(run: Any) -> None:
    from airflow.models import Pool

    run(pacs_max_associations=3)
    pool = Pool.get_pool("pacs_main")
    assert (pool.slots, pool.include_deferred) == (8, False)
    assert Pool.get_pool("gpu").slots == 1
    Pool.create_or_update_pool("pacs_main", 7, "ours", include_deferred=True)
    run(pacs_max_associations=3)
    pool = Pool.get_pool("pacs_main")
    assert (pool.slots, pool.include_deferred) == (7, False), "who waits for the governor must not keep others out"


def test_what_the_environment_does_not_name_is_left_out(database: Database) -> None:
    names = [wanted.conn_id for wanted in wanted_connections(Settings(database_url=database.url), FirstConnections())]
    assert names == ["sluice_db"]


def test_a_database_that_is_down_is_one_clear_line(airflow: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("SLUICE_DATABASE_URL", "postgresql://sluice:pw-not-shown@127.0.0.1:1/sluice")
    assert main([]) == 1
    error = capsys.readouterr().err
    assert "cannot be reached" in error
    assert "pw-not-shown" not in error
