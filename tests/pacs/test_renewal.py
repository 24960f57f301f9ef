"""A renewed certificate of the receiver is taken up while it runs, by each of its processes; a broken one is not."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509

from sluice.database import Database
from sluice.pacs.receiver.renewal import RenewedTls
from sluice.pacs.tls import TlsError, server_tls
from sluice.settings import Settings
from tests.faults.service import Service, service
from tests.pacs.certificates import Authority, Issued
from tests.pacs.test_served import eventually


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Issued:
    """The receiver's files, which are replaced by others."""
    used = Issued(tmp_path / "receiver.crt", tmp_path / "receiver.key")
    renew(used, authority.issue("first.example"))
    return used


def renew(files: Issued, by: Issued) -> None:
    """As an administrator does: a copy beside the file, renamed over it."""
    for old, new in ((files.certificate, by.certificate), (files.key, by.key)):
        os.replace(shutil.copy(new, old.with_suffix(".new")), old)


def settings_of(files: Issued, authority: Authority) -> Settings:
    return Settings(
        receiver_tls_certificate=files.certificate,
        receiver_tls_key=files.key,
        receiver_tls_ca=authority.certificate,
        receiver_tls_clients="optional",
    )


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def shown(port: int, authority: Authority, held: ExitStack) -> int:
    """Serial number of the certificate that a new connection is shown; it stays open until `held` ends."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    plain = held.enter_context(socket.create_connection(("127.0.0.1", port), 10))
    secure = held.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
    certificate = secure.getpeercert(binary_form=True)
    assert certificate is not None
    return x509.load_der_x509_certificate(certificate).serial_number


def test_changed_files_make_a_new_context_and_broken_ones_keep_the_old(
    files: Issued, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    tls = RenewedTls.of(settings_of(files, authority), look_every_s=0)
    assert tls is not None
    first = tls()
    assert tls() is first, "made anew though nothing has changed"
    second = authority.issue("second.example")
    with caplog.at_level(logging.INFO, logger="sluice"):
        os.replace(shutil.copy(second.certificate, files.certificate.with_suffix(".new")), files.certificate)
        assert tls() is first
        assert "belong together" in caplog.text, "the key is still the old one"
        assert "stays in use" in caplog.text
        caplog.clear()
        assert tls() is first
        assert caplog.text == "", "said once"
        renew(files, second)
        assert tls() is not first
        assert "certificate is used from now on" in caplog.text
        after = tls()
        for breaks, words in (
            (lambda: files.certificate.write_text("no PEM"), "no certificate in PEM form"),
            (files.certificate.unlink, "cannot be read"),
            (lambda: renew(files, authority.issue("old.example", days=-1, since=-30)), "expired on"),
            (lambda: authority.certificate.write_text(""), "expired on|no certificate"),
        ):
            caplog.clear()
            breaks()
            assert tls() is after
            assert any(part in caplog.text for part in words.split("|")), caplog.text


def test_files_that_stay_are_checked_once_a_day_so_that_their_end_is_said(
    files: Issued, authority: Authority, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    renew(files, authority.issue("soon.example", days=7))
    tls = RenewedTls.of(settings_of(files, authority), look_every_s=0)
    assert tls is not None
    first = tls()
    caplog.clear()
    assert tls() is first
    assert caplog.text == ""
    monkeypatch.setattr("sluice.pacs.receiver.renewal.CHECK_EVERY_S", 0)
    assert tls() is first
    assert "Renew it" in caplog.text


def test_files_that_become_readable_later_are_taken_up_then(
    files: Issued, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who renews a certificate often writes the key for root alone, and hands it over afterwards."""
    tls = RenewedTls.of(settings_of(files, authority), look_every_s=0)
    assert tls is not None
    first = tls()
    with monkeypatch.context() as patch:
        patch.setattr(
            "sluice.pacs.receiver.renewal.server_tls", lambda _: (_ for _ in ()).throw(TlsError("unreadable"))
        )
        renew(files, authority.issue("second.example"))
        assert tls() is first
    files.key.chmod(0o640)
    assert tls() is not first


def test_files_that_change_while_they_are_read_for_the_first_time_are_read_again(
    files: Issued, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(settings: Settings) -> ssl.SSLContext | None:
        context = server_tls(settings)
        renew(files, authority.issue("second.example"))
        return context

    with monkeypatch.context() as patch:
        patch.setattr("sluice.pacs.receiver.renewal.server_tls", read)
        tls = RenewedTls.of(settings_of(files, authority), look_every_s=0)
    assert tls is not None
    old = tls._context
    assert tls() is not old


def test_without_tls_there_is_nothing_to_renew() -> None:
    assert RenewedTls.of(Settings()) is None


def test_all_processes_take_up_a_renewed_certificate(
    files: Issued, authority: Authority, database: Database, tmp_path: Path
) -> None:
    config = settings_of(files, authority)
    given = {name: getattr(config, name) for name in config.model_fields_set}
    with service(database.url, tmp_path / "home", receiver_processes=2, **given) as running:
        before = serial(files.certificate)
        assert seen(running, authority) == {before}
        renew(files, authority.issue("second.example"))
        after = serial(files.certificate)
        assert after != before
        eventually(lambda: seen(running, authority) == {after}, "both processes show the new certificate", 60)


def seen(running: Service, authority: Authority) -> set[int]:
    """What two connections at once are shown: each is served by another process."""
    with ExitStack() as held:
        return {shown(running.port, authority, held) for _ in range(2)}
