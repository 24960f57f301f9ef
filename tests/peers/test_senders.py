"""DCMTK as the sender, against our receiver's door: allow-list, called AE title, TLS."""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.database import Database
from sluice.pacs.receiver.admission import Admission, allow_list
from sluice.pacs.receiver.receive import Receiver
from sluice.pacs.tls import server_tls
from sluice.settings import Settings
from tests.pacs.certificates import Authority, Issued
from tests.pacs.pretend import make_study
from tests.pacs.sending import rows
from tests.peers.servers import program

pytestmark = pytest.mark.peer
Storescu = Callable[..., tuple[int, str]]


@pytest.fixture
def storescu(tmp_path: Path) -> Storescu:
    """Send two instances by DCMTK; exit code and what it said."""
    program("dcmqrscp")  # storescu comes in the same package
    folder = tmp_path / "sent"
    folder.mkdir()
    for number, instance in enumerate(make_study(1, 2)):
        instance.save_as(folder / f"{number}.dcm", enforce_file_format=True)

    def run(port: int, *options: object, calling: str = "MR1", called: str = "SLUICE") -> tuple[int, str]:
        command = ["/usr/bin/storescu", *options, "-aet", calling, "-aec", called, "-to", 10, "-ta", 10, "-td", 10]
        done = subprocess.run(
            [str(part) for part in [*command, "+sd", "127.0.0.1", port, folder]],
            capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"TCP_NODELAY": "1"},
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


def test_the_allow_list_is_kept(
    database: Database, tmp_path: Path, storescu: Storescu, caplog: pytest.LogCaptureFixture
) -> None:
    admission = Admission(allow_list(["MR1@127.0.0.0/8", "CT2@10.1.0.0/16"]), ["SLUICE"])
    with (
        caplog.at_level(logging.WARNING),
        Receiver(database, tmp_path / "archive", min_free_bytes=1, admission=admission) as receiver,
    ):
        for calling, called, words in (
            ("CT2", "SLUICE", "Calling AE Title Not Recognized"),
            ("CT3", "SLUICE", "Calling AE Title Not Recognized"),
            ("MR1", "SLUCE", "Called AE Title Not Recognized"),
        ):
            code, said = storescu(receiver.port, calling=calling, called=called)
            assert code != 0
            assert words in said
        assert rows(database, "select from receipt") == []
        assert receiver.counts["association rejected"] == 3
        code, said = storescu(receiver.port)
        assert code == 0, said
    assert len(rows(database, "select from receipt where calling_ae = 'MR1'")) == 2
    assert len([line for line in caplog.messages if "rejected" in line]) == 3


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def showing(issued: Issued, authority: Authority) -> list[object]:
    return ["+tls", issued.key, issued.certificate, "+cf", authority.certificate]


def test_tls_is_kept(
    database: Database, tmp_path: Path, storescu: Storescu, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = authority.issue("sluice.example"), authority.issue("modality.example")
    stranger_authority = Authority(tmp_path, "stranger")
    stranger = stranger_authority.issue("stranger.example")
    secure = server_tls(
        Settings(
            receiver_tls_certificate=ours.certificate,
            receiver_tls_key=ours.key,
            receiver_tls_ca=authority.certificate,
        )
    )
    assert secure is not None
    with (
        caplog.at_level(logging.INFO, logger="sluice"),
        Receiver(database, tmp_path / "archive", min_free_bytes=1, tls=lambda: secure) as receiver,
    ):
        for options, words in (
            ([], "does not speak TLS"),
            (["+tla", "-ic"], "showed no certificate|no cipher suite"),
            ([*showing(stranger, authority)], "its certificate does not count"),
            ([*showing(theirs, stranger_authority)], "does not know the authority that signed our certificate"),
        ):
            caplog.clear()
            code, _ = storescu(receiver.port, *options)
            assert code != 0
            deadline = time.monotonic() + 15  # the receiver says so when it has seen the sender go
            while not any(word in caplog.text for word in words.split("|")):
                assert time.monotonic() < deadline, (options, caplog.text)
                time.sleep(0.05)
        assert rows(database, "select from receipt") == []
        for profile in ([], ["+px"], ["+pz"]):
            code, said = storescu(receiver.port, *showing(theirs, authority), *profile)
            assert code == 0, said
        assert receiver.counts["no TLS"] == 4
    assert len(rows(database, "select from receipt")) == 2


def test_a_sender_by_tls_does_not_hold_a_plain_receiver_up(
    database: Database, tmp_path: Path, storescu: Storescu, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.INFO, logger="sluice"),
        Receiver(database, tmp_path / "archive", min_free_bytes=1, artim_s=5) as receiver,
    ):
        code, _ = storescu(receiver.port, *showing(authority.issue("modality.example"), authority))
        assert code != 0
        assert "The sender at 127.0.0.1 speaks TLS, but this receiver does not" in caplog.text
        code, said = storescu(receiver.port)
        assert code == 0, said
