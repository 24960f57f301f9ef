"""One PACS, as the Airflow connection `pacs` describes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True)
class PacsNode:
    """Where a PACS listens and who we are to it.

    Attributes:
        name: what people call it; the ledger and the Airflow pool use it.
        host, port: where it listens.
        ae_title: the AE title it answers to (PS3.8 7.1.1.3, at most 16 characters).
        calling_ae_title: the AE title that we call with.
        move_destination: AE title of our receiver, as the PACS knows it.
        max_associations: how many associations at once it bears.
        timeout_s: how long we wait for a sign of life, seconds.
        tls: whether it is spoken to by DICOM TLS (`sluice.pacs.tls`).
        tls_ca: PEM file of the authorities that may have signed its certificate; empty: those of the system.
        tls_certificate, tls_key: PEM files of our own certificate, for a PACS that wants one.
        tls_name: the name that its certificate carries; empty: `host`; `*`: any, only the authority counts.
    """

    name: str
    host: str
    port: int
    ae_title: str
    calling_ae_title: str
    move_destination: str
    max_associations: int = 2
    timeout_s: float = 30
    tls: bool = False
    tls_ca: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_name: str = ""

    def __post_init__(self) -> None:
        for field in ("ae_title", "calling_ae_title", "move_destination"):
            title = getattr(self, field)
            if not title.strip() or len(title) > 16 or not title.isascii() or "\\" in title:
                raise ValueError(
                    f"{field} {title!r} of PACS {self.name!r} is no AE title: 1 to 16 ASCII characters, no backslash."
                )
        if not 0 < self.port < 65_536:
            raise ValueError(f"Port {self.port} of PACS {self.name!r} is no TCP port: use 1 to 65535.")

    @property
    def address(self) -> str:
        """The node as error messages name it: `AE@host:port`."""
        return f"{self.ae_title}@{self.host}:{self.port}"

    def as_dict(self) -> dict[str, Any]:
        """The node as plain values."""
        return asdict(self)

    @classmethod
    def of(cls, value: dict[str, Any]) -> Self:
        """The node that `as_dict` gave."""
        return cls(**value)
