"""The one path to Sluice's database: connections, migrations, named queries, COPY."""

from __future__ import annotations

import hashlib
import io
import json
import re
import select as io_select
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.extras
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812

SQL = Path(__file__).resolve().parents[1] / "sql"
_ESCAPES = (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), ("\x00", ""))
CONNECT_S = 10
_EVENTS = {psycopg2.extensions.POLL_READ: io_select.POLLIN, psycopg2.extensions.POLL_WRITE: io_select.POLLOUT}
MIGRATION_LOCK = 7_350_001  # any constant; two migrations at once wait for each other


class DatabaseError(RuntimeError):
    """The database cannot be used; the message says what to do."""


class DatabaseLost(DatabaseError, psycopg2.OperationalError):  # noqa: N818
    """Postgres went away in the middle of a transaction, of which nothing is kept."""


class DatabaseUrlError(DatabaseError):
    """What names the database can never lead to one, whatever Postgres does."""


@cache
def named_query(name: str) -> str:
    """Text of `sql/queries/<name>.sql`."""
    path = SQL / "queries" / f"{name}.sql"
    if not path.is_file():
        raise DatabaseError(f"There is no query {name!r} in {path.parent}.")
    return path.read_text(encoding="utf-8")


class Database:
    """Sluice's Postgres database, opened for each unit of work.

    Args:
        url: libpq URL or DSN, e.g. `postgresql://sluice:…@db.example/sluice`.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def connect(self) -> Connection:
        """A connection that the caller keeps and closes, for a service that writes all day.

        Raises:
            DatabaseError: the server cannot be reached, or the URL is none.
        """
        try:
            return psycopg2.connect(self.url, application_name="sluice", connect_timeout=CONNECT_S)
        except psycopg2.OperationalError as error:
            raise _unreachable(error) from error
        except psycopg2.ProgrammingError:
            raise _no_url() from None

    def connect_timed(self, limit_s: float) -> TimedConnection:
        """A connection, likewise kept, on which no answer is waited for longer than `limit_s`.

        Raises:
            DatabaseError: the server cannot be reached, or the URL is none.
        """
        servers = _each_server(self.url)
        for server in servers[:-1]:
            with suppress(psycopg2.OperationalError):
                return TimedConnection(server, limit_s, CONNECT_S / len(servers))
        try:
            return TimedConnection(servers[-1], limit_s, CONNECT_S / len(servers))
        except psycopg2.OperationalError as error:
            raise _unreachable(error) from error
        except psycopg2.ProgrammingError:
            raise _no_url() from None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection whose work is committed at the end, or rolled back on an exception.

        Raises:
            DatabaseError: the server cannot be reached, or went away in the middle (`DatabaseLost`).
        """
        connection = self.connect()
        try:
            with transaction_of(connection):
                yield connection
        finally:
            connection.close()

    def rows(self, query: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of the named query `sql/queries/<query>.sql`, one dict each."""
        with self.transaction() as connection:
            return select(connection, named_query(query), params)

    def execute(self, statement: str, params: Mapping[str, Any] | Sequence[Any] | None = None) -> int:
        """Run one statement in a transaction of its own and return the affected row count."""
        with self.transaction() as connection, connection.cursor() as cursor:
            cursor.execute(statement, params)
            return int(cursor.rowcount)


class TimedConnection:
    """A connection for whoever must not hang with a server that hangs: every answer comes within a limit or is given
    up, and a statement can work in the server while the caller does something else. In autocommit mode.

    psycopg2's asynchronous mode, waited for. One statement at a time; not to be used by two threads at once.

    Args:
        url: libpq URL or DSN.
        limit_s: how long an answer may take.
        connect_s: how long the connection itself may take, where that is shorter.

    Raises:
        psycopg2.OperationalError: from each method, `DatabaseLost` where the limit has passed; the connection is of no
            use then, and whether a statement took effect is not known.
    """

    def __init__(self, url: str, limit_s: float, connect_s: float = CONNECT_S) -> None:
        self._limit_s = limit_s
        self._connection = psycopg2.connect(url, application_name="sluice", async_=True)
        try:
            self._wait(min(limit_s, connect_s))
        except BaseException:
            self.close()
            raise
        self._cursor = self._connection.cursor()

    def send(self, statement: str | bytes, params: Sequence[Any] | None = None) -> None:
        """Have statements begun; `answer` has to be asked for before the next ones."""
        self._cursor.execute(statement, params)

    def answer(self) -> list[tuple[Any, ...]]:
        """Wait for what was sent; the rows of the last of its statements."""
        self._wait(self._limit_s)
        return self._cursor.fetchall() if self._cursor.description else []

    def run(self, statement: str | bytes, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """`send` and `answer`."""
        self.send(statement, params)
        return self.answer()

    def literal(self, template: str, values: Sequence[Any]) -> bytes:
        """A part of a statement with its values in place, quoted."""
        return self._cursor.mogrify(template, values)

    def close(self) -> None:
        """Close it, whatever state it is in."""
        with suppress(psycopg2.Error):
            self._connection.close()

    def _wait(self, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while (state := self._connection.poll()) != psycopg2.extensions.POLL_OK:
            left = deadline - time.monotonic()
            look = io_select.poll()  # unlike select.select it takes descriptors above 1023
            look.register(self._connection.fileno(), _EVENTS[state])  # libpq has another one for each address it tries
            if left <= 0 or not look.poll(left * 1000):
                raise DatabaseLost(f"The Sluice database did not answer within {limit_s:g} s. Is Postgres well?")


def _each_server(url: str) -> list[str]:
    """A URL or DSN of several servers, of which one is in charge at a time, as one for each: without a time limit of
    its own libpq would wait for the first that is silent, and never come to the next."""
    try:
        given = psycopg2.extensions.parse_dsn(url)
    except psycopg2.ProgrammingError:  # the connection says what is wrong with it
        return [url]
    hosts, ports = given.get("host", "").split(","), given.get("port", "").split(",")
    if len(hosts) == 1 or "hostaddr" in given or len(ports) not in (1, len(hosts)):
        return [url]
    ports = ports if len(ports) > 1 else ports * len(hosts)
    return [
        psycopg2.extensions.make_dsn(**given | {"host": host} | ({"port": port} if port else {}))
        for host, port in zip(hosts, ports, strict=True)
    ]


def _unreachable(error: psycopg2.OperationalError) -> DatabaseError:
    reason = re.sub(r"password=\S+", "password=…", str(error)).strip().splitlines()[0]
    return DatabaseError(
        f"The Sluice database cannot be reached ({reason}). "
        "Check SLUICE_DATABASE_URL, or the Airflow connection sluice_db."
    )


def _no_url() -> DatabaseUrlError:
    # libpq repeats what it was given, and a password may be in it
    return DatabaseUrlError(
        "SLUICE_DATABASE_URL, or the Airflow connection sluice_db, does not name a Postgres database. "
        "Write postgresql://user:password@host:5432/database."
    )


@contextmanager
def transaction_of(connection: Connection) -> Iterator[None]:
    """A transaction of a connection that is kept, committed at the end or rolled back on an exception.

    Raises:
        DatabaseLost: the server went away; nothing of the transaction is kept.
    """
    try:
        with connection:
            yield
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        # no code: libpq lost the connection; 08: connection exceptions; 57P: the server is being shut down
        if error.pgcode is not None and not error.pgcode.startswith(("08", "57P")):
            raise
        raise DatabaseLost(
            "The connection to the Sluice database was lost in the middle of a transaction; nothing of it was kept. "
            "Check that Postgres runs, then run the step again: it goes on where it stopped."
        ) from error


def select(
    connection: Connection, statement: str, params: Mapping[str, Any] | Sequence[Any] | None = None
) -> list[dict[str, Any]]:
    """Rows of a statement within an open transaction, one dict each."""
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute(statement, params)
        return [dict(row) for row in cursor.fetchall()]


def query_rows(
    where: Database | Connection, query: str, params: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Rows of a named query, in a transaction of its own or within an open one."""
    return where.rows(query, params) if isinstance(where, Database) else select(where, named_query(query), params)


def copy_rows(
    connection: Connection,
    table: str,
    columns: Sequence[str],
    rows: Iterable[Iterable[Any]],
    on_conflict: str = "do nothing",
    expect_new: bool = False,
) -> int:
    """COPY rows into a staging table, then insert them into `table`; return how many were inserted or updated.

    Args:
        on_conflict: what follows `on conflict` in the insert, e.g. `do nothing` or
            `(window_key, scanner) do update set offset_s = excluded.offset_s`.
        expect_new: COPY straight into `table`, and take the way over staging only when a row is there already
            (wide rows are then written once instead of twice).

    None becomes NULL, lists become Postgres arrays, dicts become JSON, anything else its `str`.
    """
    lines = [copy_line(row) for row in rows]
    if expect_new:
        with suppress(psycopg2.errors.UniqueViolation):
            return copy_lines(connection, table, columns, lines)
    return copy_lines(connection, table, columns, lines, on_conflict)


def copy_line(row: Iterable[Any]) -> str:
    """A row as COPY's text format writes it, without its end; values as `copy_rows` takes them, and bytes."""
    return "\t".join([copy_value(value) for value in row])


def copy_lines(
    connection: Connection, table: str, columns: Sequence[str], lines: Sequence[str], on_conflict: str | None = None
) -> int:
    """COPY rows that `copy_line` wrote straight into `table`; return how many were inserted or updated.

    Args:
        on_conflict: take the way over a staging table; see `copy_rows`.

    Raises:
        psycopg2.errors.UniqueViolation: a row is there already; the transaction can go on.
    """
    if not lines:
        return 0
    buffer = io.BytesIO(("\n".join(lines) + "\n").encode())
    if on_conflict is None:
        return _copy_straight(connection, table, columns, buffer)
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    staging = sql.Identifier("staging_" + hashlib.sha1(table.encode()).hexdigest()[:12])
    target = sql.Identifier(table)
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("create temporary table {} on commit drop as select {} from {} with no data").format(
                staging, names, target
            )
        )
        cursor.copy_expert(
            sql.SQL("copy {} ({}) from stdin with (encoding 'UTF8')").format(staging, names).as_string(cursor),
            buffer,
        )
        cursor.execute(
            sql.SQL("insert into {} ({}) select {} from {} on conflict ").format(target, names, names, staging)
            + sql.SQL(on_conflict)
        )
        inserted = int(cursor.rowcount)
        cursor.execute(sql.SQL("drop table {}").format(staging))
    return inserted


def _copy_straight(connection: Connection, table: str, columns: Sequence[str], buffer: io.BytesIO) -> int:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("copy {} ({}) from stdin with (encoding 'UTF8')").format(sql.Identifier(table), names)
    with connection.cursor() as cursor:
        cursor.execute("savepoint straight")
        try:
            cursor.copy_expert(statement.as_string(cursor), buffer)
        except psycopg2.errors.UniqueViolation:
            cursor.execute("rollback to savepoint straight")
            raise
        copied = int(cursor.rowcount)
        cursor.execute("release savepoint straight")
    return copied


def copy_value(value: Any) -> str:
    """A value as COPY's text format writes it: backslash, tab and line ends escaped, NULL as \\N."""
    if value is None:
        return "\\N"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, bytes):
        return "\\\\x" + value.hex()
    if isinstance(value, dict):
        text = json.dumps(value)
    elif isinstance(value, list | tuple):
        text = "{" + ",".join(_array_item(item) for item in value) + "}"
    else:
        text = str(value)
    for raw, written in _ESCAPES:
        if raw in text:
            text = text.replace(raw, written)
    return text


def _array_item(item: Any) -> str:
    if item is None:
        return "NULL"
    if isinstance(item, int | float):
        return str(item)
    text = str(item).replace("\x00", "").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def migrate(url: str) -> list[str]:
    """Apply the migrations of `sql/migrations` that this database lacks, in order; return their names.

    Raises:
        DatabaseError: an applied migration's text has changed since, or this user does not own the database and it
            lacks some.
    """
    try:
        return _migrate(url)
    except psycopg2.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            "The database lacks migrations, and this user may not apply them. Run `sluice migrate` with "
            "SLUICE_DATABASE_OWNER_URL set to the user who owns the database."
        ) from error


def _migrate(url: str) -> list[str]:
    applied: list[str] = []
    with Database(url).transaction() as connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
        if select(connection, "select to_regclass('schema_migration') is null as is_new")[0]["is_new"]:
            cursor.execute(
                "create table schema_migration "
                "(name text primary key, sha256 text not null, applied_at timestamptz not null default now())"
            )
        known = {row["name"]: row["sha256"] for row in select(connection, "select name, sha256 from schema_migration")}
        for path in sorted((SQL / "migrations").glob("*.sql")):
            text = path.read_text(encoding="utf-8")
            digest = hashlib.sha256(text.encode()).hexdigest()
            if path.name in known:
                if known[path.name] != digest:
                    raise DatabaseError(
                        f"Migration {path.name} was changed after it was applied. "
                        "Restore it and put the change into a new migration."
                    )
                continue
            cursor.execute(text)
            cursor.execute("insert into schema_migration (name, sha256) values (%s, %s)", (path.name, digest))
            applied.append(path.name)
    return applied


def lacking_migrations(database: Database, limit_s: float) -> list[str]:
    """Names of the migrations that the database lacks; `migrate` applies them.

    Args:
        limit_s: how long the database is waited for.

    Raises:
        DatabaseError: it cannot be reached.
    """
    connection = database.connect_timed(limit_s)
    try:
        known: set[str] = set()
        if connection.run("select to_regclass('schema_migration')")[0][0] is not None:
            known = {name for (name,) in connection.run("select name from schema_migration")}
    except psycopg2.OperationalError as error:
        raise _unreachable(error) from error
    finally:
        connection.close()
    return sorted(path.name for path in (SQL / "migrations").glob("*.sql") if path.name not in known)
