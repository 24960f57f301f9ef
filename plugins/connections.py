"""The one place where the API server finds Sluice's database: Airflow's connection `sluice_db`, else the settings."""

from __future__ import annotations

from functools import cache

from sluice.database import Database
from sluice.settings import settings

CONNECTION = "sluice_db"
# Pages only read, but for orders and policies, and no question of theirs may hold the database up.
IN_TIME = "-c statement_timeout=20000"
READ_ONLY = f"-c default_transaction_read_only=on {IN_TIME}"


def database() -> Database:
    """Sluice's database, for reading only; asked for each request, because connections are edited in Airflow."""
    return read_only(_url())


def writable() -> Database:
    """Sluice's database for the few routes that write."""
    return _with_options(_url(), IN_TIME)


def unhurried() -> Database:
    """Sluice's database for an upload, which may bring a million rows."""
    return _with_options(_url(), "-c statement_timeout=600000")


def _url() -> str:
    from airflow.exceptions import AirflowNotFoundException
    from airflow.models.connection import Connection

    try:
        connection = Connection.get_connection_from_secrets(CONNECTION)
    except AirflowNotFoundException:
        return settings().database_url
    from psycopg2.extensions import make_dsn

    known = {name: str(value) for name, value in connection.extra_dejson.items() if name in _libpq_options()}
    return str(
        make_dsn(
            host=connection.host,
            port=connection.port or 5432,
            dbname=connection.schema,
            user=connection.login or None,
            password=connection.password or None,
            **known,
        )
    )


def read_only(url: str) -> Database:
    """A database by libpq URL or DSN whose sessions can read only."""
    return _with_options(url, READ_ONLY)


def _with_options(url: str, more: str) -> Database:
    from psycopg2.extensions import make_dsn, parse_dsn

    options = f"{parse_dsn(url).get('options', '')} {more}".strip()
    return Database(make_dsn(url, options=options))


@cache
def _libpq_options() -> frozenset[str]:
    return frozenset(
        {"sslmode", "sslrootcert", "sslcert", "sslkey", "connect_timeout", "target_session_attrs", "keepalives_idle"}
    )
