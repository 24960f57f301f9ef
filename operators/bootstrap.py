"""Set Airflow up for Sluice: `python -m operators.bootstrap`. Safe to run at every start.

Migrates both databases, writes the connections `sluice_db`, `sluice_s3` and `pacs_main` from the environment
(`sluice.settings.FirstConnections`) and makes the pools. A connection that a person edited in Airflow is left
alone: each that we write carries a seal in its description, and where the seal no longer fits, somebody changed
it. `--force` overwrites it all the same.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from operators.policies import BUCKET, DATABASE, GPU_POOL, PACS
from sluice.settings import FirstConnections, Settings

if TYPE_CHECKING:
    from airflow.models.connection import Connection
    from sqlalchemy.orm import Session

SEAL = "Written by operators.bootstrap; edit it here and it stays yours. Seal "


@dataclass(frozen=True)
class Wanted:
    """A connection as the environment describes it."""

    conn_id: str
    conn_type: str
    host: str | None = None
    port: int | None = None
    schema: str | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    extra: dict[str, Any] = field(default_factory=dict)


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Run the whole set-up and say what was done; 0 when all is well."""
    parser = argparse.ArgumentParser(prog="python -m operators.bootstrap", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--force", action="store_true", help="overwrite connections that a person edited")
    force = parser.parse_args(arguments).force
    try:
        bootstrap(Settings(), FirstConnections(), force, say)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def bootstrap(
    settings: Settings, first: FirstConnections, force: bool = False, say: Callable[[str], None] = print
) -> None:
    """Migrate both databases, then write connections and pools.

    Raises:
        DatabaseError: Sluice's database cannot be reached, or a migration was changed.
    """
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session

    from sluice.database import Database, migrate
    from sluice.database_roles import separate
    from sluice.pacs.governor.policy import ensure_policy

    applied = migrate(settings.database_owner_url or settings.database_url)
    say(f"Sluice's database: {len(applied)} migrations applied." if applied else "Sluice's database is up to date.")
    if settings.database_owner_url and (lacks := separate(settings.database_owner_url, settings.database_url)):
        say(f"Who is who is not separate: {lacks}. See docs/identities.md, Roles.")
    with create_session() as session:
        initdb(session=session)
    say("Airflow's database is up to date.")
    with create_session() as session:
        for wanted in wanted_connections(settings, first):
            say(write_connection(session, wanted, force))
    for line in write_pools(first.pacs_max_associations):
        say(line)
    if first.pacs_host:  # so that a site can set the hours of its PACS before anybody asks it
        ensure_policy(Database(settings.database_url), PACS, first.pacs_max_associations, settings.time_zone)


def wanted_connections(settings: Settings, first: FirstConnections) -> list[Wanted]:
    """The connections that the environment describes; what it does not name is left out."""
    wanted = [_database(settings.database_url)]
    if first.pacs_host:
        wanted.append(
            Wanted(
                PACS,
                "pacs",
                host=first.pacs_host,
                port=first.pacs_port,
                extra={
                    "ae_title": first.pacs_ae_title,
                    "calling_ae_title": first.pacs_calling_ae_title or settings.receiver_ae_title,
                    "move_destination": first.pacs_move_destination or settings.receiver_ae_title,
                    "max_associations": first.pacs_max_associations,
                    "timeout_s": first.pacs_timeout_s,
                },
            )
        )
    if first.s3_bucket:
        wanted.append(_bucket(first, first.s3_bucket))
    return wanted


def _database(url: str) -> Wanted:
    parts = urlsplit(url)
    return Wanted(
        DATABASE,
        "postgres",
        host=parts.hostname,
        port=parts.port or 5432,
        schema=unquote(parts.path.lstrip("/")),
        login=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        extra=dict(parse_qsl(parts.query)),
    )


def _bucket(first: FirstConnections, bucket: str) -> Wanted:
    extra: dict[str, Any] = {
        "region_name": first.s3_region,
        "service_config": {"s3": {"bucket_name": bucket}},
        "config_kwargs": {"retries": {"mode": "standard", "max_attempts": 6}},  # with growing pauses, 20 s at most
    }
    if first.s3_endpoint:
        # Path-style, as embedded and most on-premises servers want it.
        extra["endpoint_url"] = first.s3_endpoint
        extra["config_kwargs"]["s3"] = {"addressing_style": "path"}
    return Wanted(
        BUCKET,
        "aws",
        login=first.s3_access_key,
        password=first.s3_secret_key.get_secret_value() if first.s3_secret_key else None,
        extra=extra,
    )


def write_connection(session: Session, wanted: Wanted, force: bool) -> str:
    """Create or update one connection, unless a person edited it; return what was done, in a sentence."""
    from airflow.models.connection import Connection
    from sqlalchemy import select

    stored = session.scalar(select(Connection).where(Connection.conn_id == wanted.conn_id))
    if stored is None:
        stored = Connection(conn_id=wanted.conn_id, conn_type=wanted.conn_type)
        session.add(stored)
        done = "created"
    elif _as_wanted(stored) == wanted:
        return f"Connection {wanted.conn_id}: as it should be."
    elif not force and not _is_sealed(stored):
        return (
            f"Connection {wanted.conn_id}: kept as a person edited it, though the environment says otherwise. "
            "--force overwrites it."
        )
    else:
        done = "updated"
    stored.conn_type = wanted.conn_type
    stored.host, stored.port, stored.schema = wanted.host, wanted.port, wanted.schema
    stored.login = wanted.login
    stored.set_password(wanted.password)
    stored.set_extra(json.dumps(wanted.extra))
    stored.description = SEAL + _seal(wanted)
    return f"Connection {wanted.conn_id}: {done}."


def _as_wanted(stored: Connection) -> Wanted:
    return Wanted(
        stored.conn_id,
        stored.conn_type,
        host=stored.host or None,
        port=stored.port,
        schema=stored.schema or None,
        login=stored.login or None,
        password=stored.password or None,
        extra=stored.extra_dejson,
    )


def _is_sealed(stored: Connection) -> bool:
    return hmac.compare_digest(stored.description or "", SEAL + _seal(_as_wanted(stored)))


def _seal(wanted: Wanted) -> str:
    """Keyed with Airflow's Fernet key, so that it tells nothing about a password."""
    from airflow.sdk import conf

    key = conf.get("core", "fernet_key", fallback="").encode()
    return hmac.new(key, json.dumps(asdict(wanted), sort_keys=True).encode(), hashlib.sha256).hexdigest()[:16]


def write_pools(max_associations: int) -> list[str]:
    """Make the pools; the size of one that exists is a person's business, except that waiting tasks must not count.

    How many associations a PACS bears is its governor's business; the pool of that name only keeps tasks that ask it
    from taking all workers, and so does not count those that wait in the triggerer.
    """
    from airflow.models import Pool

    done = []
    for name, slots, include_deferred, description in (
        (PACS, max(8, 2 * max_associations), False, "Workers at once that ask the PACS; the governor paces them."),
        (GPU_POOL, 1, False, "Models at once on the GPU, or on the CPU where there is none."),
    ):
        stored = Pool.get_pool(name)
        if stored is not None and stored.include_deferred == include_deferred:
            done.append(f"Pool {name}: {stored.slots} slots.")
            continue
        Pool.create_or_update_pool(name, stored.slots if stored else slots, description, include_deferred)
        done.append(f"Pool {name}: {'corrected' if stored else 'created'}.")
    return done


if __name__ == "__main__":
    sys.exit(main())
