"""DICOM TLS: what is agreed upon, and what a person is told where it is not."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from sluice.pacs.association import ECHO, associate
from sluice.pacs.errors import PacsError
from sluice.pacs.node import PacsNode
from sluice.pacs.tls import TlsError, secured, server_tls
from sluice.settings import Settings
from sluice.stack.processes import free_port, start, stop, wait_until
from tests.pacs.certificates import Authority, Issued
from tests.peers.servers import program


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ours(authority: Authority) -> Issued:
    return authority.issue("sluice.example")


@pytest.fixture(scope="module")
def theirs(authority: Authority) -> Issued:
    return authority.issue("pacs.example")


def settings_of(issued: Issued, authority: Authority | None, clients: str = "required") -> Settings:
    return Settings(
        receiver_tls_certificate=issued.certificate,
        receiver_tls_key=issued.key,
        receiver_tls_ca=authority.certificate if authority else None,
        receiver_tls_clients=clients,  # type: ignore[arg-type]
    )


@contextmanager
def pacs(context: ssl.SSLContext | None) -> Iterator[int]:
    """An SCP that answers a C-ECHO; its port."""
    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", 0), block=False, ssl_context=context)
    server.handle_error = lambda *_: None  # type: ignore[union-attr]  # a failed handshake is what we want
    try:
        yield int(server.server_address[1])  # type: ignore[union-attr]
    finally:
        server.shutdown()  # type: ignore[union-attr]


@contextmanager
def aborting(context: ssl.SSLContext | None) -> Iterator[tuple[int, Callable[[], None]]]:
    """An SCP's port, and what makes it abort its associations."""
    entity = AE(ae_title="PACS")
    entity.add_supported_context(Verification)
    server: Any = entity.start_server(("127.0.0.1", 0), block=False, ssl_context=context)

    def abort() -> None:
        for association in server.active_associations:
            association.abort()

    try:
        yield int(server.server_address[1]), abort
    finally:
        server.shutdown()


def node(port: int, **tls: Any) -> PacsNode:
    return PacsNode("main", "127.0.0.1", port, "PACS", "SLUICE", "SLUICE", timeout_s=5, **tls)


def trusting(authority: Authority, **more: Any) -> dict[str, Any]:
    return {"tls": True, "tls_ca": str(authority.certificate)} | more


def showing(issued: Issued) -> dict[str, str]:
    return {"tls_certificate": str(issued.certificate), "tls_key": str(issued.key)}


def echo(to: PacsNode) -> str:
    with associate(to, ECHO) as association:
        return association.echo()


def test_both_sides_show_certificates_and_speak(authority: Authority, ours: Issued, theirs: Issued) -> None:
    with pacs(server_tls(settings_of(theirs, authority))) as port:
        assert echo(node(port, **trusting(authority), **showing(ours))) == "0000"
        assert echo(node(port, **trusting(authority, tls_name="pacs.example"), **showing(ours))) == "0000"


def test_an_association_over_tls_is_asked_again_and_ended_by_either(authority: Authority, theirs: Issued) -> None:
    with pacs(server_tls(settings_of(theirs, None, "none"))) as port:
        with associate(node(port, **trusting(authority)), ECHO) as association:
            for _ in range(3):
                assert association.is_open  # session tickets wait to be read, and are no message
                assert association.echo() == "0000"
        assert not association.is_open
    with (
        aborting(server_tls(settings_of(theirs, None, "none"))) as (port, abort),
        associate(node(port, **trusting(authority)), ECHO) as association,
    ):
        assert association.is_open
        abort()
        deadline = time.monotonic() + 10
        while association.is_open:
            assert time.monotonic() < deadline


def test_a_pacs_without_tls_is_spoken_to_as_before() -> None:
    assert server_tls(Settings()) is None
    with pacs(None) as port:
        assert echo(node(port)) == "0000"


def test_what_is_agreed_upon_is_in_the_profile(authority: Authority, theirs: Issued) -> None:
    server = server_tls(settings_of(theirs, None, "none"))
    assert server is not None
    assert server.minimum_version == ssl.TLSVersion.TLSv1_2
    for version, suites in (
        (ssl.TLSVersion.TLSv1_3, {"TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"}),
        (ssl.TLSVersion.TLSv1_2, {"ECDHE-ECDSA-AES256-GCM-SHA384"}),
    ):
        client = ssl.create_default_context(cafile=str(authority.certificate))
        client.maximum_version = version
        with (
            listening(server) as (port, _),
            socket.create_connection(("127.0.0.1", port), 5) as plain,
            client.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped,
        ):
            name, *_ = wrapped.cipher() or ("",)
            assert name in suites
            wrapped.sendall(b"ping")
            assert wrapped.recv(4) == b"ping"


@pytest.mark.parametrize("suite", ["AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-SHA384", "DHE-RSA-AES128-SHA"])
def test_a_suite_outside_the_profile_is_not_agreed_upon(theirs: Issued, suite: str) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    client.set_ciphers(f"{suite}:@SECLEVEL=0")
    assert "no cipher suite of the BCP 195 profile" in refused(settings_of(theirs, None, "none"), client)


def test_a_version_before_1_2_is_not_agreed_upon(theirs: Issued) -> None:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    assert "no TLS from 1.2 on" in refused(settings_of(theirs, None, "none"), client)


def test_a_sender_has_to_show_a_certificate_of_the_authority(
    authority: Authority, theirs: Issued, ours: Issued, tmp_path: Path
) -> None:
    def client(issued: Issued | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.check_hostname = False
        if issued:
            context.load_cert_chain(issued.certificate, issued.key)
        return context

    required = settings_of(theirs, authority)
    assert "showed no certificate" in refused(required, client(None))
    stranger = Authority(tmp_path, "stranger").issue("stranger.example")
    assert "its certificate does not count (unable to get local issuer" in refused(required, client(stranger))
    expired = authority.issue("expired.example", days=-1, since=-30)
    assert "its certificate does not count (certificate has expired)" in refused(required, client(expired))
    assert refused(required, client(ours)) == ""
    assert refused(settings_of(theirs, authority, "optional"), client(None)) == ""


@pytest.mark.parametrize(
    ("noise", "words"),
    [
        (b"\x01\x00\x00\x00\x00\x44\x00\x01", "does not speak TLS"),
        (b"GET / HTTP/1.1\r\n\r\n", "speaks HTTP"),
        (bytes(100), "does not speak TLS"),
        (b"", "the handshake took too long"),
        (b"\x16\x03\x01\x02\x00", "the handshake took too long"),
    ],
)
def test_who_speaks_no_tls_is_told_apart_and_waited_for_briefly(theirs: Issued, noise: bytes, words: str) -> None:
    started = time.monotonic()
    with (
        listening(server_tls(settings_of(theirs, None, "none"))) as (port, heard),
        socket.create_connection(("127.0.0.1", port), 5) as connection,
    ):
        connection.sendall(noise)
        heard.done.wait(5)
    assert words in heard.error
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("setting", ["certificate", "key", "ca"])
def test_a_file_that_cannot_be_read_is_named(
    authority: Authority, theirs: Issued, setting: str, tmp_path: Path
) -> None:
    settings = settings_of(theirs, authority)
    setattr(settings, f"receiver_tls_{setting}", tmp_path / "absent.pem")
    with pytest.raises(TlsError, match=r"cannot be read: .*absent\.pem"):
        server_tls(settings)
    (tmp_path / "absent.pem").write_text("not PEM")
    with pytest.raises(TlsError, match=r"absent\.pem.* PEM"):
        server_tls(settings)


def test_certificate_and_key_have_to_belong_together(theirs: Issued, ours: Issued, authority: Authority) -> None:
    with pytest.raises(TlsError, match="belong together"):
        server_tls(settings_of(Issued(theirs.certificate, ours.key), authority))
    with pytest.raises(TlsError, match="locked by a password"):
        server_tls(settings_of(authority.issue("locked.example", password=b"secret"), authority))


def test_a_certificate_out_of_date_is_said_at_start(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(TlsError, match=r"expired on 20\d\d"):
        server_tls(settings_of(authority.issue("old.example", days=-1, since=-30), authority))
    with pytest.raises(TlsError, match="clock"):
        server_tls(settings_of(authority.issue("early.example", since=2), authority))
    with caplog.at_level(logging.WARNING):
        server_tls(settings_of(authority.issue("soon.example", days=7), authority))
    assert "expires on" in caplog.text


def test_half_a_setup_is_refused(theirs: Issued) -> None:
    with pytest.raises(TlsError, match="SLUICE_RECEIVER_TLS_CERTIFICATE is not"):
        server_tls(Settings(receiver_tls_key=theirs.key))
    with pytest.raises(TlsError, match="SLUICE_RECEIVER_TLS_CA does not say"):
        server_tls(settings_of(theirs, None))


def test_what_keeps_us_from_a_pacs_is_said(authority: Authority, theirs: Issued, ours: Issued, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    with pacs(server_tls(settings_of(theirs, authority))) as port:
        for tls, words in (
            ({}, "speaks TLS, but the connection 'main' does not ask for it. Switch TLS on"),
            (trusting(other) | showing(ours), "does not count.*Name the authority that signed it"),
            (trusting(authority, tls_name="ris.example") | showing(ours), "(?i)mismatch.*TLS name"),
            (trusting(authority), "wants a certificate of ours and got none.*Name our certificate"),
            (trusting(authority) | showing(other.issue("us")), "does not know the authority that signed our cert"),
            ({"tls": True, "tls_ca": str(tmp_path / "none.pem")}, "cannot be read"),
        ):
            with pytest.raises(TlsError, match=words) as caught:
                echo(node(port, **tls))
            assert caught.value.permanent
    assert echo_with_any_name(authority, theirs, ours) == "0000"


def echo_with_any_name(authority: Authority, theirs: Issued, ours: Issued) -> str:
    elsewhere = authority.issue("elsewhere.example", address="10.0.0.1")
    with pacs(server_tls(settings_of(elsewhere, authority))) as port:
        return echo(node(port, **trusting(authority, tls_name="*"), **showing(ours)))


def test_an_expired_certificate_of_the_pacs_is_said(authority: Authority) -> None:
    expired = authority.issue("expired-pacs.example", days=-1, since=-30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(expired.certificate, expired.key)
    with pacs(context) as port, pytest.raises(TlsError, match=r"has expired.*renew it"):
        echo(node(port, **trusting(authority)))


def test_a_plain_pacs_is_said_to_be_plain(authority: Authority) -> None:
    with pacs(None) as port, pytest.raises(TlsError, match=r"speak TLS|Does it speak TLS"):
        echo(node(port, **trusting(authority)))
    with pytest.raises(PacsError, match="Nobody answers"):
        echo(node(free_port(), **trusting(authority)))


@pytest.mark.peer
def test_dcmtk_as_the_pacs(authority: Authority, theirs: Issued, ours: Issued, tmp_path: Path) -> None:
    program("dcmqrscp")
    port = free_port()
    own = ["+tls", theirs.key, theirs.certificate, "+cf", authority.certificate]
    command = ["/usr/bin/storescp", *own, "-aet", "PACS", "-od", tmp_path, port]
    log = tmp_path / "storescp.log"
    process = start([str(part) for part in command], log, os.environ | {"TCP_NODELAY": "1"}, tmp_path)
    try:
        wait_until(lambda: _listens(port), "storescp", 30, process, log)
        assert echo(node(port, **trusting(authority), **showing(ours))) == "0000"
        with pytest.raises(TlsError, match=r"wants a certificate|broke the handshake off"):
            echo(node(port, **trusting(authority)))
        with pytest.raises(PacsError):
            echo(node(port))
    finally:
        stop(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Heard:
    """What `secured` said about one connection."""

    def __init__(self) -> None:
        self.error = ""
        self.done = threading.Event()


@contextmanager
def listening(context: ssl.SSLContext | None) -> Iterator[tuple[int, Heard]]:
    """Takes one connection through `secured` and echoes what comes."""
    assert context is not None
    heard = Heard()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            accepted, _ = server.accept()
            accepted.settimeout(5)
            try:
                with secured(accepted, context, 1.0) as wrapped:
                    assert wrapped.gettimeout() == 5
                    wrapped.sendall(wrapped.recv(100))
            except TlsError as error:
                heard.error = str(error)
                assert accepted.fileno() == -1
            except OSError:
                pass
            heard.done.set()

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield server.getsockname()[1], heard
        thread.join(10)


def refused(settings: Settings, client: ssl.SSLContext) -> str:
    """What the server says about a client; empty when they agree."""
    with listening(server_tls(settings)) as (port, heard):
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            try:
                with client.wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
                    wrapped.sendall(b"ping")
                    wrapped.recv(4)
            except OSError:
                pass
        heard.done.wait(5)
    return heard.error


def test_dcmtk_lists_its_suites() -> None:
    """DCMTK has TLS at all; without it the peer test above would prove nothing."""
    listed = subprocess.run(["/usr/bin/storescu", "+cc"], capture_output=True, text=True, check=False, timeout=20)
    assert "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" in listed.stdout
