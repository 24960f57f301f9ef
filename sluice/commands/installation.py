"""Which installation a command is about: that of the settings, or the embedded stack that runs here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sluice.settings import CHECKOUT, SECRETS, settings

if TYPE_CHECKING:
    from sluice.database import Database
    from sluice.objects import ObjectStore
    from sluice.settings import Settings

UP_HOME = CHECKOUT / "var" / "up"
DEMO_HOME = CHECKOUT / "var" / "demo"


def settings_of(home: Path | None) -> Settings:
    """The settings of the installation that `database_of` finds: its folders are below its home."""
    from sluice.settings import Settings
    from sluice.stack.daily import running_home

    if home is None and _names_database():
        return settings()
    return Settings(home=running_home(_homes(home)))


def database_of(home: Path | None) -> Database:
    """The database that the user means: of the setting, else of the stack that runs here."""
    from sluice.database import Database
    from sluice.stack.daily import database_url

    if home is None and _names_database():
        return Database(settings().database_url)
    return Database(database_url(_homes(home)))


def owners_database_of(home: Path | None) -> Database:
    """The same database as its owner, where that is another user than the one of tasks and pages."""
    from sluice.database import Database
    from sluice.stack.daily import database_url

    if home is None and _names_database():
        return Database(settings().database_owner_url or settings().database_url)
    return Database(database_url(_homes(home), as_owner=True))


def stores_of(home: Path | None) -> Callable[[str], ObjectStore] | None:
    """Buckets by name, of the settings or else of the stack that `database_of` finds; None where they lack them."""
    from sluice.objects import connect
    from sluice.settings import FirstConnections
    from sluice.stack.daily import running_home
    from sluice.stack.home import Ports
    from sluice.stack.s3 import EmbeddedS3

    if home is None and _names_database():
        named = FirstConnections()
        if named.s3_endpoint is None or named.s3_access_key is None or named.s3_secret_key is None:
            return None
        endpoint, access, secret = named.s3_endpoint, named.s3_access_key, named.s3_secret_key.get_secret_value()
    else:
        root = running_home(_homes(home))
        server = EmbeddedS3(root / "s3", Ports(root, {}).of_running("s3"))
        access, secret = ((server.folder / name).read_text().strip() for name in ("access-key", "secret-key"))
        endpoint = server.endpoint_url
    return lambda bucket: connect(endpoint, access, secret, bucket)


def _homes(home: Path | None) -> list[Path]:
    """Folders whose stack may be meant: the one named, else that of SLUICE_HOME and those of `up` and `demo`."""
    if home is not None:
        return [home]
    named = os.environ.get("SLUICE_HOME")
    return [*([Path(named)] if named else []), UP_HOME, DEMO_HOME]


def _names_database() -> bool:
    """Whether a setting says where the database is: SLUICE_DATABASE_URL, or a secret that is mounted."""
    return bool(os.environ.get("SLUICE_DATABASE_URL")) or (SECRETS / "sluice_database_url").is_file()
