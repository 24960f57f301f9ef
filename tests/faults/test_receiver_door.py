"""The settings of the door reach `sluice receive`: allow-list, called AE title, TLS; and a wrong one stops it."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from sluice.__main__ import main
from sluice.database import Database
from sluice.settings import settings
from tests.faults.hostile import ONE, Hostile, associate_rq
from tests.faults.service import service
from tests.pacs.certificates import Authority
from tests.pacs.sending import rows


def test_allow_list_and_tls_of_the_service(database: Database, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours, theirs = authority.issue("sluice.example"), authority.issue("modality.example")
    client = ssl.create_default_context(cafile=str(authority.certificate))
    client.load_cert_chain(theirs.certificate, theirs.key)
    door = {
        "receiver_processes": 2,
        "receiver_allow": "MR1@127.0.0.1,CT2@10.1.0.0/16",
        "receiver_also_called": "OLDARCHIVE",
        "receiver_tls_certificate": ours.certificate,
        "receiver_tls_key": ours.key,
        "receiver_tls_ca": authority.certificate,
    }
    with service(database.url, tmp_path / "home", **door) as running:
        with Hostile(running.port) as plain:
            assert plain.send(associate_rq(calling=b"MR1")).ended() == "closed"
        for calling, called, answer in (
            (b"CT2", b"SLUICE", "rejected 1/1/3"),
            (b"MR1", b"ELSEWHERE", "rejected 1/1/7"),
        ):
            with Hostile(running.port) as peer:
                peer.socket = client.wrap_socket(peer.socket, server_hostname="127.0.0.1")
                assert peer.send(associate_rq(calling=calling, called=called)).ended() == answer
        for called in (b"SLUICE", b"OLDARCHIVE"):
            with Hostile(running.port) as peer:
                peer.socket = client.wrap_socket(peer.socket, server_hostname="127.0.0.1")
                answered = peer.send(associate_rq(ONE, calling=b"MR1", called=called)).read()
                assert answered is not None
                assert answered[0] == 2
                assert peer.store_new() == 0
                peer.release()
    kept = rows(database, "select called_ae from receipt where calling_ae = 'MR1' order by receipt_id")
    assert kept == [{"called_ae": "SLUICE"}, {"called_ae": "OLDARCHIVE"}]
    said = running.log.read_text()
    assert "'CT2' at 127.0.0.1 to 'SLUICE' rejected: calling AE title not recognized" in said
    assert "does not speak TLS" in said
    assert "2 association rejected" in said


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SLUICE_RECEIVER_ALLOW", "MR1", "'MR1' in SLUICE_RECEIVER_ALLOW is no AE@network"),
        ("SLUICE_COMMITMENT_PEERS", "MR1@host", "is no AE@host:port"),
        ("SLUICE_RECEIVER_TLS_CERTIFICATE", "/nowhere.pem", "cannot be read: /nowhere.pem"),
        ("SLUICE_RECEIVER_TLS_CLIENTS", "maybe", "SLUICE_RECEIVER_TLS_CLIENTS: Input should be 'required'"),
    ],
)
def test_a_setting_that_cannot_be_used_stops_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str,
    words: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    monkeypatch.setenv(name, value)
    settings.cache_clear()
    try:
        assert main(["receive"]) == 1
    finally:
        settings.cache_clear()
    assert words in capsys.readouterr().err
