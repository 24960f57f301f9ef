"""A DICOMweb service behind a proxy, and one whose certificate only the hospital's own authority signed."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from sluice.archive.storing import Storing
from sluice.database import Database
from sluice.pacs.association import identifier_of
from sluice.pacs.echo import echo
from sluice.pacs.errors import PacsError, PacsRefused, PacsStatusError, PacsUnreachable
from sluice.pacs.fetch.dicomweb import DicomwebAssociation
from sluice.pacs.fetch.web_route import proxies_of
from sluice.pacs.find.inventory import STUDY_KEYS
from sluice.pacs.node import PacsNode
from sluice.stack.processes import free_port
from tests.pacs.certificates import Authority
from tests.pacs.pretend import make_study
from tests.pacs.pretend_web import PretendWeb
from tests.pacs.proxy import Proxy
from tests.pacs.sending import rows
from tests.pacs.test_retrieve import expect, fetch

HOST = "pacs.example:8443"  # a name that only the proxy knows
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def secure_web(authority: Authority, holds: list[Dataset]) -> Iterator[tuple[PretendWeb, Proxy]]:
    """A service on https and a proxy that knows where it is."""
    issued = authority.issue("pacs.example")
    with PretendWeb(holds) as web, Proxy() as proxy:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        proxy.resolves[HOST] = ("127.0.0.1", int(web.server.server_address[1]))
        web.server.socket = context.wrap_socket(web.server.socket, server_side=True)
        web.url = f"https://{HOST}/dicom-web"
        yield web, proxy


def studies(node: PacsNode) -> int:
    with DicomwebAssociation.open(node) as association:
        return len(association.find(identifier_of("STUDY", {}, STUDY_KEYS)).answers)


def test_a_proxy_of_the_connection_and_one_of_the_environment_pass_on_what_they_cannot_read(
    authority: Authority, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holds = make_study(1, 2, PatientID="SECRET-4711")
    expect(database, holds)
    with secure_web(authority, holds) as (web, proxy):
        node = web.node(dicomweb_proxy=proxy.url, tls_ca=str(authority.certificate))
        with Storing(database, tmp_path / "archive", tmp_path / "spool", min_free_bytes=1) as storing:
            assert fetch(database, storing, node).arrived == 2
        assert len(rows(database, "select from receipt")) == 2
        assert set(proxy.asked) == {("CONNECT", HOST)}
        proxy.asked.clear()
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.certificate))
        assert studies(web.node()) == 1
        assert "answers in" in echo(web.node(query_by="QIDO-RS"))
        assert set(proxy.asked) == {("CONNECT", HOST)}
        assert b"dicom-web" not in proxy.seen
        assert len(proxy.seen) > 0


def test_who_is_in_no_proxy_and_who_wants_none_is_asked_straight(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with secure_web(authority, make_study(1, 1)) as (web, proxy):
        web.url = f"https://localhost:{web.server.server_address[1]}/dicom-web"
        trusting: dict[str, Any] = {"tls_ca": str(authority.certificate)}
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert proxies_of(web.node()) == {"https": proxy.url}
        assert proxies_of(web.node(dicomweb_proxy="none")) == {}
        monkeypatch.setenv("NO_PROXY", "localhost,.hospital.example")
        web.url = f"https://127.0.0.1:{web.server.server_address[1]}/dicom-web"
        assert proxies_of(web.node(dicomweb_url="https://localhost/dicom-web")) == {}
        assert proxies_of(web.node(dicomweb_url="https://vna.hospital.example/dicom-web")) == {}
        monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
        assert studies(web.node(**trusting)) == 1
        assert proxy.asked == []


def test_plain_http_goes_through_a_proxy_only_where_the_connection_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with PretendWeb(make_study(1, 1)) as web, Proxy() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert studies(web.node()) == 1
        assert proxy.asked == [], "patients' data would have been read on the way"
        assert studies(web.node(dicomweb_proxy=proxy.url)) == 1
        assert {method for method, _ in proxy.asked} == {"GET"}


def test_what_is_wrong_on_the_way_is_said(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    with secure_web(authority, make_study(1, 1)) as (web, proxy):
        with pytest.raises(PacsRefused, match="REQUESTS_CA_BUNDLE"):
            studies(web.node(dicomweb_proxy=proxy.url))
        proxy.login = ("sluice", "gatekeeper")
        trusting: dict[str, Any] = {"tls_ca": str(authority.certificate)}
        with pytest.raises(PacsUnreachable, match=r"does not let us through\. Correct dicomweb_proxy"):
            studies(web.node(dicomweb_proxy=proxy.url, **trusting))
        node = web.node(dicomweb_proxy=f"http://sluice:gatekeeper@{proxy.address}", **trusting)
        assert studies(node) == 1
        assert "gatekeeper" not in repr(node)
        nobody = web.node(dicomweb_proxy=f"http://sluice:gatekeeper@127.0.0.1:{free_port()}", **trusting)
        with pytest.raises(PacsUnreachable, match="The proxy on the way") as caught:
            studies(nobody)
        assert "gatekeeper" not in str(caught.value)
    with PretendWeb([]) as web, Proxy(login=("a", "b")) as proxy:
        with pytest.raises(PacsStatusError, match="A proxy on the way wants a login") as refused:
            studies(web.node(dicomweb_proxy=proxy.url))
        assert isinstance(refused.value, PacsError)
        assert refused.value.permanent
        for bad in ("proxy.example:3128", "socks5://proxy.example", "http://"):
            with pytest.raises(ValueError, match="is no proxy: write it like"):
                web.node(dicomweb_proxy=bad)
