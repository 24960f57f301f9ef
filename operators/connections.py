"""The one place where Airflow connections become what the domain works with.

`sluice_db` (type postgres), `sluice_s3` (type aws) and `pacs_main` (type pacs) are all that a site changes to
run against a managed Postgres, a real S3 and a real PACS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from airflow.sdk import BaseHook

from operators.pacs_hook import ConnectionIncomplete, PacsHook
from operators.policies import BUCKET, DATABASE, PACS
from sluice.database import Database

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import Connection

    from sluice.objects import ObjectStore
    from sluice.pacs.node import PacsNode
    from sluice.release.linkage.keys import Keyring, KeySource, ProjectKey

# What libpq understands and a site may want in the connection's extra.
LIBPQ_OPTIONS = (
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "connect_timeout",
    "options",
    "target_session_attrs",
    "keepalives_idle",
)


def database() -> Database:
    """Sluice's database, by the connection `sluice_db`."""
    return Database(database_url(_connection(DATABASE)))


async def adatabase() -> Database:
    """Sluice's database, for triggers."""
    return Database(database_url(await BaseHook.aget_connection(DATABASE)))


def pacs_node(conn_id: str = PACS) -> PacsNode:
    """A PACS of the hospital, by its connection; the one that is swept each night by default.

    Raises:
        ConnectionIncomplete: there is no such connection, or it lacks something.
    """
    _connection(conn_id)
    return PacsHook(conn_id).get_node()


def archive() -> Path:
    """Root folder of received files; the receiver writes there, so it is a setting and no connection."""
    from sluice.settings import settings

    return settings().archive


def keys() -> KeySource:
    """Where the projects' keys come from: for each project the connection `sluice_key_<project>`, whose password holds
    the key's line (or lines), where there is one; else what the settings say.

    With a secrets backend (Vault, AWS Secrets Manager, …) the connection stands in no database.
    """
    from sluice.release.linkage.keys import key_source

    return _KeysOfConnections(key_source())


class _KeysOfConnections:
    """Keys of connections, before those of another source."""

    def __init__(self, others: KeySource) -> None:
        self._others = others

    def ring(self, project: str) -> Keyring:
        """The project's keys; see `sluice.release.linkage.keys`."""
        return self._source(project).ring(project)

    def make(self, project: str, number: int) -> ProjectKey:
        """A new key, where there is no connection for the project's."""
        return self._source(project).make(project, number)

    def _source(self, project: str) -> KeySource:
        from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

        from sluice.release.linkage.keys import TextKeys

        conn_id = f"sluice_key_{project.replace('-', '_')}"
        try:
            connection = BaseHook.get_connection(conn_id)
        except (AirflowNotFoundException, AirflowRuntimeError):
            return self._others
        return TextKeys(connection.password or "", f"the connection {conn_id}")


def bucket(name: str | None = None) -> ObjectStore:
    """A bucket by its name, or the one that the connection names; both by the connection `sluice_s3`.

    The Amazon provider makes the client, so roles, web identity, profiles and endpoints of the connection all
    hold; the bucket's name is where that provider keeps it, `service_config.s3.bucket_name` in the extra.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from sluice.objects import ObjectStore

    connection = _connection(BUCKET)
    return ObjectStore(S3Hook(aws_conn_id=BUCKET).get_conn(), name or bucket_name(connection))


def bucket_name(connection: Connection) -> str:
    """Name of the bucket that a connection of type `aws` names.

    Raises:
        ConnectionIncomplete: it names none.
    """
    name = connection.extra_dejson.get("service_config", {}).get("s3", {}).get("bucket_name")
    if not name:
        raise ConnectionIncomplete(
            f"The connection {connection.conn_id} names no bucket. Put "
            '{"service_config": {"s3": {"bucket_name": "…"}}} into its extra.'
        )
    return str(name)


def database_url(connection: Connection) -> str:
    """libpq URL of a connection of type `postgres`; options of libpq come from its extra.

    Raises:
        ConnectionIncomplete: no host or no database.
    """
    if not connection.host or not connection.schema:
        raise ConnectionIncomplete(
            f"The connection {connection.conn_id} lacks host or database. Fill it in under Admin, Connections."
        )
    login = quote(connection.login or "", safe="")
    password = f":{quote(connection.password, safe='')}" if connection.password else ""
    extra: dict[str, Any] = connection.extra_dejson
    options = {name: str(extra[name]) for name in LIBPQ_OPTIONS if extra.get(name)}
    return (
        f"postgresql://{login}{password}{'@' if login else ''}{connection.host}:{connection.port or 5432}"
        f"/{quote(connection.schema, safe='')}{'?' + urlencode(options) if options else ''}"
    )


def _connection(conn_id: str) -> Connection:
    from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

    try:
        return BaseHook.get_connection(conn_id)
    except (AirflowNotFoundException, AirflowRuntimeError) as error:
        advice = (
            "Run: python -m operators.bootstrap, or add it by hand."
            if conn_id in (PACS, DATABASE, BUCKET)
            else "Add it under Admin, Connections, under the name that it had when its PACS was swept."
        )
        raise ConnectionIncomplete(f"There is no Airflow connection {conn_id}. {advice}") from error
