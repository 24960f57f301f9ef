"""Hook of the connection type `pacs`: one PACS node, and a Test button that does a C-ECHO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

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

    def get_sources(self) -> list[PacsNode]:
        """Where instances are fetched from, in order: the connections that its field `sources` names, else itself.

        Raises:
            ConnectionIncomplete: one of them is missing, or lacks something.
        """
        ids = source_ids(self.get_connection(self.pacs_conn_id))
        return [PacsHook(conn_id).get_node() for conn_id in ids]

    async def aget_sources(self) -> list[PacsNode]:
        """The sources, for triggers."""
        ids = source_ids(await self.aget_connection(self.pacs_conn_id))
        return [await PacsHook(conn_id).aget_node() for conn_id in ids]

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
    from sluice.pacs.node import Credentials, PacsNode

    name = connection.conn_id or PACS
    extra = connection.extra_dejson
    host, port, title = connection.host, connection.port, extra.get("ae_title")
    url = str(extra.get("dicomweb_url") or "") or None
    if url and extra.get("retrieve_by") == "DICOMweb" and extra.get("query_by") == "QIDO-RS":
        # one that speaks no DIMSE: the ledger still wants a name for who sends
        host, port, title = host or urlsplit(url).hostname, port or 104, title or "DICOMWEB"
    missing = [
        label for label, value in (("PACS host", host), ("Port", port), ("AE title of the PACS", title)) if not value
    ]
    if missing:
        raise ConnectionIncomplete(
            f"The connection {name} lacks: {', '.join(missing)}. Fill it in under Admin, Connections."
        )
    calling = str(extra.get("calling_ae_title") or "SLUICE")
    try:
        return PacsNode(
            name=name,
            host=str(host),
            port=int(port or 0),
            ae_title=str(title),
            calling_ae_title=calling,
            move_destination=str(extra.get("move_destination") or calling),
            max_associations=_number(name, extra, "max_associations", 2),
            timeout_s=_number(name, extra, "timeout_s", 30),
            retrieve_by=str(extra.get("retrieve_by") or "auto"),
            query_by=str(extra.get("query_by") or "C-FIND"),
            dicomweb_url=url,
            dicomweb_proxy=str(extra.get("dicomweb_proxy") or "").strip(),
            credentials=Credentials(
                connection.login or "", connection.password or "", str(extra.get("dicomweb_token") or "")
            ),
            tls=str(extra.get("tls") or "").lower() in ("true", "1"),
            tls_ca=str(extra.get("tls_ca") or ""),
            tls_certificate=str(extra.get("tls_certificate") or ""),
            tls_key=str(extra.get("tls_key") or ""),
            tls_name=str(extra.get("tls_name") or ""),
        )
    except ValueError as error:
        raise ConnectionIncomplete(f"{error} Correct it under Admin, Connections.") from None


def source_ids(connection: Connection) -> list[str]:
    """Ids of the connections that instances are fetched from, in order: a JSON list, or names separated by commas."""
    value = connection.extra_dejson.get("sources")
    names = value if isinstance(value, list) else str(value or "").split(",")
    ids = [str(name).strip() for name in names if str(name).strip()]
    return list(dict.fromkeys(ids)) or [connection.conn_id or PACS]


def _number(name: str, extra: dict[str, Any], field: str, default: int) -> int:
    value = extra.get(field)
    try:
        return default if value in (None, "") else int(value)
    except (TypeError, ValueError):
        raise ConnectionIncomplete(
            f"The field {field} of connection {name} is not a whole number. Correct it under Admin, Connections."
        ) from None
