"""QIDO-RS and WADO-RS against a service that misbehaves as real ones do."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from sluice.archive.storing import Storing
from sluice.database import Database
from sluice.pacs.association import identifier_of
from sluice.pacs.echo import echo
from sluice.pacs.errors import (
    PacsAborted,
    PacsBusy,
    PacsError,
    PacsRefused,
    PacsStatusError,
    PacsTimedOut,
    PacsUnreachable,
)
from sluice.pacs.fetch.dicomweb import DicomwebAssociation
from sluice.pacs.fetch.multipart import BrokenMultipart, boundary_of, parts_of
from sluice.pacs.find.contents import IMAGE_KEYS, SERIES_KEYS
from sluice.pacs.find.inventory import STUDY_KEYS
from sluice.pacs.find.sweep import sweep
from sluice.pacs.node import Credentials
from sluice.stack.processes import free_port
from tests.pacs.certificates import Authority
from tests.pacs.pretend import make_study
from tests.pacs.pretend_web import PretendWeb, as_file, credentials
from tests.pacs.sending import rows
from tests.pacs.test_retrieve import WINDOW, attempts, expect, fetch, reasons


@pytest.fixture
def holds() -> list[Dataset]:
    """Two studies of two series of three instances."""
    return [instance for _ in range(2) for instance in make_study()]


@pytest.fixture
def storing(database: Database, tmp_path: Path) -> Iterator[Storing]:
    with Storing(database, tmp_path / "archive", tmp_path / "spool", min_free_bytes=1) as running:
        yield running


def test_studies_come_as_they_are_stored(database: Database, storing: Storing, holds: list[Dataset]) -> None:
    holds[0].file_meta.TransferSyntaxUID = RLELossless
    holds[0].PixelData = encapsulate([b"\r\n--of-parts is no delimiter of ours"])
    holds[0]["PixelData"].VR = "OB"
    expect(database, holds)
    with PretendWeb(holds) as web:
        summary = fetch(database, storing, web.node())
    assert (summary.wanted, summary.arrived, summary.requests, summary.missing) == (12, 12, 2, 0)
    assert {accept for _, accept in web.asked} == {'multipart/related; type="application/dicom"; transfer-syntax=*'}
    assert attempts(database)[0][1:3] == ("WADO-RS", "200")
    syntaxes = rows(database, "select transfer_syntax_uid, count(*) as n from receipt group by 1 order by n")
    assert [(one["transfer_syntax_uid"], one["n"]) for one in syntaxes] == [
        (RLELossless, 1),
        ("1.2.840.10008.1.2.1", 11),
    ]
    (kept,) = rows(database, f"select path from receipt where sop_instance_uid = '{holds[0].SOPInstanceUID}'")
    original = as_file(holds[0])
    stored = (storing.archive.root / str(kept["path"])).read_bytes()
    dataset = original[original.index(b"\x08\x00\x16\x00UI") :]
    assert stored.endswith(dataset), "the dataset is not byte for byte the one that was sent"


def test_only_what_is_missing_is_asked_for(database: Database, storing: Storing, holds: list[Dataset]) -> None:
    expect(database, holds)
    with PretendWeb(holds[:7]) as half:
        assert fetch(database, storing, half.node()).gone == 5
        assert set(reasons(database).values()) == {"no-longer-held"}
        half.holds = holds
        half.asked.clear()
        assert fetch(database, storing, half.node()).missing == 0
        assert sorted(path.count("/") for path, _ in half.asked) == [5, 7, 7], "a series and two single instances"


def test_an_answer_that_leaves_one_out_is_asked_for_it_alone(
    database: Database, storing: Storing, holds: list[Dataset]
) -> None:
    expect(database, holds)
    with PretendWeb(holds, leave_out={holds[3].SOPInstanceUID}) as web:
        summary = fetch(database, storing, web.node())
    assert (summary.missing, summary.requests) == (0, 3)


def test_an_answer_cut_in_the_middle_keeps_what_came_whole(
    database: Database, storing: Storing, holds: list[Dataset]
) -> None:
    expect(database, holds[:6])
    size = len(as_file(holds[0])) + len("--of-parts--") + 40
    with PretendWeb(holds, cut_after=2 * size + size // 2) as web:
        summary = fetch(database, storing, web.node())
        assert 1 <= summary.arrived <= 3
        assert summary.aborted == summary.missing > 0
        assert set(reasons(database).values()) == {"aborted"}
        assert list(storing.archive.incoming.iterdir()) == []
        assert fetch(database, storing, web.node()).missing == 0


def test_a_service_that_stalls_times_out(database: Database, storing: Storing, holds: list[Dataset]) -> None:
    expect(database, holds[:6])
    with PretendWeb(holds, stall_s=1.0) as web:
        assert fetch(database, storing, web.node(timeout_s=0.3)).timed_out > 0
    assert set(reasons(database).values()) == {"timed-out"}


@pytest.mark.parametrize("shown", [{"login": ("me", "geheim")}, {"token": "geheim"}])
def test_credentials_are_shown_and_a_wrong_one_is_said(
    database: Database, storing: Storing, holds: list[Dataset], shown: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    expect(database, holds)
    with PretendWeb(holds, **shown) as web:
        with pytest.raises(PacsStatusError, match=r"401.*Correct them in the connection") as caught:
            fetch(database, storing, web.node(credentials=Credentials("me", "wrong")))
        assert caught.value.permanent
        assert set(reasons(database).values()) == {"refused"}
        assert {one[2] for one in attempts(database)} == {"401"}
        assert fetch(database, storing, web.node(credentials=credentials(web))).missing == 0
    assert "geheim" not in caplog.text
    assert holds[0].StudyInstanceUID not in caplog.text


@pytest.mark.parametrize(
    ("faults", "kind", "words"),
    [
        ({"status": 403}, PacsStatusError, "Ask its administrator"),
        ({"status": 429, "headers": {"Retry-After": "7"}}, PacsBusy, "wait 7 s"),
        ({"status": 503, "headers": {"Retry-After": "Sun, 01 Jan 2023 00:00:00 GMT"}}, PacsBusy, "It is busy"),
        ({"status": 501}, PacsStatusError, "does not offer this service"),
        ({"html": True}, PacsStatusError, "login page"),
    ],
)
def test_what_further_requests_cannot_change_ends_the_pass(
    database: Database,
    storing: Storing,
    holds: list[Dataset],
    faults: dict[str, Any],
    kind: type[Exception],
    words: str,
) -> None:
    expect(database, holds)
    with PretendWeb(holds, **faults) as web, pytest.raises(kind, match=words) as caught:
        fetch(database, storing, web.node())
    assert isinstance(caught.value, PacsError)
    assert caught.value.permanent == (kind is not PacsBusy)
    assert holds[0].StudyInstanceUID not in str(caught.value)
    assert len([path for path, accept in web.asked if "json" not in accept]) == 1
    assert set(reasons(database).values()) == {"refused"}


@pytest.mark.parametrize("status", [400, 406, 409, 500])
def test_a_refusal_of_one_request_is_noted_with_its_status(
    database: Database, storing: Storing, holds: list[Dataset], status: int
) -> None:
    expect(database, holds)
    with PretendWeb(holds, status=status) as web:
        assert fetch(database, storing, web.node()).refused == 12
    assert rows(database, "select distinct status from attempt_missing") == [{"status": str(status)}]


def test_a_wrong_base_url_is_no_proof_that_something_is_gone(
    database: Database, storing: Storing, holds: list[Dataset]
) -> None:
    expect(database, holds)
    with PretendWeb(holds) as web, pytest.raises(PacsStatusError, match="no DICOMweb service at this address"):
        fetch(database, storing, web.node(dicomweb_url=web.url.replace("/dicom-web", "/dicomweb")))
    assert set(reasons(database).values()) == {"refused"}
    with pytest.raises(PacsUnreachable, match="dicomweb_url"):
        fetch(database, storing, web.node(dicomweb_url=f"http://127.0.0.1:{free_port()}/dicom-web"))


def test_a_certificate_of_nobody_is_refused_with_advice(holds: list[Dataset], tmp_path: Path) -> None:
    import ssl

    authority = Authority(tmp_path)
    issued = authority.issue("localhost")
    with PretendWeb(holds) as web:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        web.server.socket = context.wrap_socket(web.server.socket, server_side=True)
        url = web.url.replace("http:", "https:").replace("127.0.0.1", "localhost")
        with (
            pytest.raises(PacsRefused, match="certificate"),
            DicomwebAssociation.open(web.node(dicomweb_url=url)) as association,
        ):
            association.find(identifier_of("STUDY", {}, STUDY_KEYS))
        trusting = web.node(dicomweb_url=url, tls_ca=str(authority.certificate))
        with DicomwebAssociation.open(trusting) as association:
            assert len(association.find(identifier_of("STUDY", {}, STUDY_KEYS)).answers) == 2


@pytest.mark.parametrize("limit", [None, 1, 2, 3])
def test_a_query_is_paged_until_nothing_more_comes(holds: list[Dataset], limit: int | None) -> None:
    with PretendWeb(holds, limit=limit) as web, DicomwebAssociation.open(web.node()) as association:
        study, series = holds[0].StudyInstanceUID, holds[0].SeriesInstanceUID
        found = association.find(identifier_of("STUDY", {"StudyDate": "20261026-20261026"}, STUDY_KEYS))
        assert {one.StudyInstanceUID for one in found.answers} == {one.StudyInstanceUID for one in holds}
        assert found.status == "0000"
        of_study = association.find(identifier_of("SERIES", {"StudyInstanceUID": study}, SERIES_KEYS))
        assert len(of_study.answers) == 2
        keys: dict[str, str | list[str]] = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
        images = association.find(identifier_of("IMAGE", keys, IMAGE_KEYS))
        assert {one.SOPInstanceUID for one in images.answers} == {one.SOPInstanceUID for one in holds[:3]}
        nobody = association.find(identifier_of("STUDY", {"PatientID": "NOBODY"}, STUDY_KEYS))
        assert nobody.answers == []


def test_a_window_is_swept_and_fetched_without_any_dimse(
    database: Database, storing: Storing, holds: list[Dataset]
) -> None:
    with PretendWeb(holds, limit=2) as web:
        node = web.node(query_by="QIDO-RS")
        summary = sweep(database, node, WINDOW)
        assert (summary.studies, summary.series, summary.instances, summary.uncertain) == (2, 4, 12, 0)
        assert fetch(database, storing, node).missing == 0
        assert "answers in" in echo(node)
        web.token = "t"
        with pytest.raises(PacsStatusError, match="401"):
            echo(node)


def test_a_query_that_fails_is_an_error(holds: list[Dataset]) -> None:
    with PretendWeb(holds, token="t") as web, DicomwebAssociation.open(web.node()) as association:
        with pytest.raises(PacsStatusError, match="QIDO-RS with status 401"):
            association.find(identifier_of("STUDY", {}, STUDY_KEYS))
        web.token, web.html = None, True
        with pytest.raises(PacsStatusError, match="no DICOM JSON"):
            association.find(identifier_of("STUDY", {}, STUDY_KEYS))


@given(
    bodies=st.lists(st.binary(max_size=200) | st.just(b"\r\n--xy\r\n--x--\r\n") | st.just(b"--x"), max_size=4),
    size=st.integers(1, 50),
    preamble=st.sampled_from([b"", b"\r\n", b"to be ignored\r\n"]),
)
def test_parts_come_out_as_they_went_in(bodies: list[bytes], size: int, preamble: bytes) -> None:
    boundary = b"x-of-1234"
    whole = preamble + b"".join(b"--%s\r\nContent-Type: a/b\r\n\r\n%s\r\n" % (boundary, body) for body in bodies)
    whole += b"--%s--\r\n" % boundary
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    assert [b"".join(part) for part in parts_of(iter(pieces), boundary)] == bodies
    cut = len(whole) - len(boundary) - 6
    with pytest.raises(BrokenMultipart):
        [b"".join(part) for part in parts_of(iter([whole[:cut]]), boundary)]


def test_parts_that_nobody_reads_are_skipped() -> None:
    whole = b"--b  \r\n\r\nfirst\r\n--b\r\nX: y\r\n\r\nsecond\r\n--b--"
    assert len(list(parts_of(iter([whole]), b"b"))) == 2
    with pytest.raises(BrokenMultipart, match="no end"):
        list(parts_of(iter([b"--b\r\n" + b"h" * 20_000]), b"b"))
    assert boundary_of('Multipart/Related; type="application/dicom"; boundary="a b"') == ("multipart/related", b"a b")
    assert boundary_of("text/html") == ("text/html", None)


def test_a_broken_session_is_told_from_a_slow_one(holds: list[Dataset]) -> None:
    import socket

    mute = socket.create_server(("127.0.0.1", 0))
    with PretendWeb(holds) as web:
        silent = web.node(dicomweb_url=f"http://127.0.0.1:{mute.getsockname()[1]}", timeout_s=0.3)
        with mute, DicomwebAssociation.open(silent) as association, pytest.raises(PacsTimedOut):
            association.find(identifier_of("STUDY", {}, STUDY_KEYS))
        closer = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=lambda: closer.accept()[0].close(), daemon=True).start()
        gone = web.node(dicomweb_url=f"http://127.0.0.1:{closer.getsockname()[1]}")
        with closer, DicomwebAssociation.open(gone) as association, pytest.raises((PacsUnreachable, PacsAborted)):
            association.find(identifier_of("STUDY", {}, STUDY_KEYS))
