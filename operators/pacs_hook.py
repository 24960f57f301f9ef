"""Hook of the connection type `pacs`: one PACS node, and a Test button that does a C-ECHO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from operators.policies import PACS

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from sluice.pacs.node import PacsNode


class ConnectionIncomplete(RuntimeError):  # noqa: N818
    """An Airflow connection lacks something; the message says what."""

    permanent = True


class PacsHook(BaseHook):
    """One PACS, as an Airflow connection of type `pacs` describes it.

    Args:
        pacs_conn_id: id of the connection.
    """

    conn_name_attr = "pacs_conn_id"
    default_conn_name = PACS
    conn_type = "pacs"
    hook_name = "PACS (DICOM)"

    def __init__(self, pacs_conn_id: str = PACS) -> None:
        super().__init__()
        self.pacs_conn_id = pacs_conn_id

    def get_node(self) -> PacsNode:
        """The node.

        Raises:
            ConnectionIncomplete: host, port or an AE title is missing.
        """
        return node_of(self.get_connection(self.pacs_conn_id))

    async def aget_node(self) -> PacsNode:
        """The node, for triggers."""
        return node_of(await self.aget_connection(self.pacs_conn_id))

    def get_conn(self) -> PacsNode:
        """The node; the name that Airflow expects of a hook."""
        return self.get_node()

    def test_connection(self) -> tuple[bool, str]:
        """C-ECHO. The message is shown as it is, so nothing of the connection's extras gets into it."""
        from sluice.pacs.echo import echo

        try:
            return True, echo(self.get_node())
        except RuntimeError as error:  # every error of the domain is one, and says what to do
            return False, str(error)


def node_of(connection: Connection) -> PacsNode:
    """The PACS node that an Airflow connection describes.

    Raises:
        ConnectionIncomplete: something is missing, or no AE title, port or number.
    """
    from sluice.pacs.node import PacsNode

    name = connection.conn_id or PACS
    extra = connection.extra_dejson
    missing = [
        label
        for label, value in (
            ("PACS host", connection.host),
            ("Port", connection.port),
            ("AE title of the PACS", extra.get("ae_title")),
        )
        if not value
    ]
    if missing:
        raise ConnectionIncomplete(
            f"The connection {name} lacks: {', '.join(missing)}. Fill it in under Admin, Connections."
        )
    calling = str(extra.get("calling_ae_title") or "SLUICE")
    try:
        return PacsNode(
            name=name,
            host=str(connection.host),
            port=int(connection.port or 0),
            ae_title=str(extra["ae_title"]),
            calling_ae_title=calling,
            move_destination=str(extra.get("move_destination") or calling),
            max_associations=_number(name, extra, "max_associations", 2),
            timeout_s=_number(name, extra, "timeout_s", 30),
            tls=str(extra.get("tls") or "").lower() in ("true", "1"),
            tls_ca=str(extra.get("tls_ca") or ""),
            tls_certificate=str(extra.get("tls_certificate") or ""),
            tls_key=str(extra.get("tls_key") or ""),
            tls_name=str(extra.get("tls_name") or ""),
        )
    except ValueError as error:
        raise ConnectionIncomplete(f"{error} Correct it under Admin, Connections.") from None


def _number(name: str, extra: dict[str, Any], field: str, default: int) -> int:
    value = extra.get(field)
    try:
        return default if value in (None, "") else int(value)
    except (TypeError, ValueError):
        raise ConnectionIncomplete(
            f"The field {field} of connection {name} is not a whole number. Correct it under Admin, Connections."
        ) from None
