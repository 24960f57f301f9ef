"""One PACS, as an Airflow connection of type `pacs` describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

WAYS = ("C-MOVE", "C-GET", "DICOMweb")
NO_PROXY = "none"


@dataclass(frozen=True)
class Credentials:
    """What a DICOMweb service wants to know us by: login and password, or a bearer token. Never shown."""

    login: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class PacsNode:
    """Where a PACS listens and who we are to it.

    Attributes:
        name: what people call it, the id of its connection; the ledger and the Airflow pool use it.
        host, port: where it listens.
        ae_title: the AE title it answers to (PS3.8 7.1.1.3, at most 16 characters).
        calling_ae_title: the AE title that we call with.
        move_destination: AE title of our receiver, as the PACS knows it.
        max_associations: how many associations at once it bears.
        timeout_s: how long we wait for a sign of life, seconds.
        retrieve_by: how instances are fetched: one of `WAYS`, or `auto` for what it turns out to offer.
        dicomweb_url: base URL of its DICOMweb service (PS3.18), below which `/studies` is.
        query_by: `C-FIND` or `QIDO-RS`.
        credentials: for DICOMweb.
        dicomweb_proxy: URL of the HTTP proxy to it, `none` for none; empty: what the environment says for https
            (`sluice.pacs.fetch.web_route`).
        tls: whether it is spoken to by DICOM TLS (`sluice.pacs.tls`).
        tls_ca: PEM file of the authorities that may have signed its certificate, of DICOMweb too; empty: those of the
            system (DICOMweb: of `REQUESTS_CA_BUNDLE`, else the public ones).
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
    retrieve_by: str = "auto"
    dicomweb_url: str | None = None
    query_by: str = "C-FIND"
    credentials: Credentials = field(default=Credentials(), repr=False)
    dicomweb_proxy: str = field(default="", repr=False)  # somebody may write a password into it
    tls: bool = False
    tls_ca: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_name: str = ""

    def __post_init__(self) -> None:
        for title_of in ("ae_title", "calling_ae_title", "move_destination"):
            title = getattr(self, title_of)
            if not title.strip() or len(title) > 16 or not title.isascii() or "\\" in title:
                raise ValueError(
                    f"{title_of} {title!r} of PACS {self.name!r} is no AE title: "
                    "1 to 16 ASCII characters, no backslash."
                )
        if not 0 < self.port < 65_536:
            raise ValueError(f"Port {self.port} of PACS {self.name!r} is no TCP port: use 1 to 65535.")
        self._check_ways()

    def _check_ways(self) -> None:
        if self.retrieve_by not in ("auto", *WAYS):
            raise ValueError(f"retrieve_by of PACS {self.name!r} is none of auto, {', '.join(WAYS)}.")
        if self.query_by not in ("C-FIND", "QIDO-RS"):
            raise ValueError(f"query_by of PACS {self.name!r} is neither C-FIND nor QIDO-RS.")
        self._check_proxy()
        if self.dicomweb_url is None:
            if self.retrieve_by == "DICOMweb" or self.query_by == "QIDO-RS":
                raise ValueError(f"PACS {self.name!r} is to be asked by DICOMweb, but has no dicomweb_url.")
            return
        parts = urlsplit(self.dicomweb_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError(  # not shown: somebody may have written a password into it
                f"dicomweb_url of PACS {self.name!r} is no base URL: write it like https://pacs.example/dicom-web, "
                "and login and password into the fields for them."
            )

    def _check_proxy(self) -> None:
        if self.dicomweb_proxy in ("", NO_PROXY):
            return
        parts = urlsplit(self.dicomweb_proxy)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"dicomweb_proxy of PACS {self.name!r} is no proxy: write it like http://proxy.hospital.example:3128, "
                f"or {NO_PROXY} to use none."
            )

    @property
    def address(self) -> str:
        """The node as error messages name it: `AE@host:port`."""
        return f"{self.ae_title}@{self.host}:{self.port}"

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways by which instances may be fetched, the best first."""
        if self.retrieve_by != "auto":
            return (self.retrieve_by,)
        return WAYS if self.dicomweb_url else WAYS[:2]
