"""What we send by C-STORE, against Orthanc and DCMTK's storescp: they keep the bytes that we have."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from sluice.database import Database, select
from sluice.pacs.governor import Governor, Use
from sluice.pacs.governor.policy import ensure_policy
from sluice.pacs.node import PacsNode
from sluice.pacs.send import Outgoing, send
from sluice.reports.making import ask, ask_for_window, open_nodes, report_of, send_asked, send_reports
from sluice.stack.processes import free_port, start, stop, wait_until
from tests.deid.planted import encoded, image
from tests.peers.servers import _listens, orthanc
from tests.reports.scene import ReadStudy

pytestmark = pytest.mark.peer


def test_orthanc_takes_a_report_once_and_has_its_content(database: Database, tmp_path: Path) -> None:
    read = ReadStudy(database, tmp_path / "archive")
    made = report_of(database, read.study, "ada")
    http = free_port()
    with orthanc(tmp_path, free_port(), HttpServerEnabled=True, HttpPort=http, DicomAlwaysAllowStore=True) as node:
        ensure_policy(database, node.name, 2, "Europe/Berlin")
        governor = Governor(database, node.name, Use("send", "test"))
        for _ in range(2):
            assert send_reports(database, node, [made], governor).as_dict() == {"objects": 1, "sent": 1, "failed": 0}
        kept = json.load(urllib.request.urlopen(f"http://127.0.0.1:{http}/instances", timeout=20))
        assert len(kept) == 1, "the same report a second time is the same object"
        file = urllib.request.urlopen(f"http://127.0.0.1:{http}/instances/{kept[0]}/file", timeout=20).read()
    assert dcmread(BytesIO(file)) == dcmread(BytesIO(made.file))
    with database.transaction() as connection:
        rows = select(connection, "select node, reason, status, detail from sent_object")
        (used,) = select(connection, "select purpose, requests from pacs_use order by lease_id limit 1")
    assert rows == [{"node": "orthanc", "reason": "report", "status": "0000", "detail": None}] * 2
    assert (used["purpose"], used["requests"]) == ("send", 1)


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[PacsNode]:
    """DCMTK's storescp, which writes what it gets as it gets it."""
    port, log = free_port(), folder / "storescp.log"
    (folder / "got").mkdir()
    process = start(["/usr/bin/storescp", "-od", folder / "got", *options, str(port)], log, None, folder)
    try:
        wait_until(lambda: _listens(port), "storescp", 30, process, log)
        yield PacsNode("storescp", "127.0.0.1", port, "PEER", "SLUICE_TEST", "SLUICE", timeout_s=20)
    finally:
        stop(process)


def received(folder: Path) -> dict[str, bytes]:
    """By SOP Instance UID: the dataset's bytes."""
    found = {}
    for path in (folder / "got").iterdir():
        data = path.read_bytes()
        begin = 132 + 12 + int.from_bytes(data[140:144], "little")
        found[str(dcmread(path).SOPInstanceUID)] = data[begin:]
    return found


def test_each_object_goes_as_it_is_and_one_that_cannot_be_read_keeps_nobody(tmp_path: Path) -> None:
    plain, compressed = image(1), image(2)
    compressed.compress(RLELossless, generate_instance_uid=False)
    files = [tmp_path / name for name in ("plain.dcm", "rle.dcm")]
    for one, path in zip((plain, compressed), files, strict=True):
        path.write_bytes(encoded(one))
    (tmp_path / "noise.dcm").write_bytes(b"noise" * 40)
    objects = [Outgoing("bad", tmp_path / "noise.dcm"), Outgoing("gone", tmp_path / "gone.dcm")]
    objects += [Outgoing(str(one.SOPInstanceUID), path) for one, path in zip((plain, compressed), files, strict=True)]
    with storescp(tmp_path, "+xa", "-B") as node:
        outcome = {one.sop_instance_uid: one for one in send(node, objects)}
    assert {uid for uid, one in outcome.items() if one.is_there} == {plain.SOPInstanceUID, compressed.SOPInstanceUID}
    assert "cannot be read here" in (outcome["bad"].detail or "")
    got = received(tmp_path)
    for one, path in zip((plain, compressed), files, strict=True):
        data = path.read_bytes()
        assert got[str(one.SOPInstanceUID)] == data[132 + 12 + int.from_bytes(data[140:144], "little") :]


def test_who_takes_the_default_only_gets_that_and_no_compressed_one(tmp_path: Path) -> None:
    plain, compressed = image(1), image(2)
    compressed.compress(RLELossless, generate_instance_uid=False)
    with storescp(tmp_path, "+xi") as node:
        first, second = send(
            node,
            [Outgoing("plain", encoded(plain)), Outgoing("compressed", encoded(compressed))],
        )
    told = {one.sop_instance_uid: one for one in (first, second)}
    assert told["plain"].is_there
    assert not told["compressed"].is_there
    assert "not the service asked for" in (told["compressed"].detail or ""), told
    (path,) = (tmp_path / "got").iterdir()
    kept = dcmread(path)
    assert kept.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian != ExplicitVRLittleEndian
    assert kept.PixelData == plain.PixelData
    assert subprocess.run(["/usr/bin/dcmdump", "-q", str(path)], capture_output=True, check=False).returncode == 0


def test_what_people_asked_for_stays_asked_for_until_the_node_has_it(database: Database, tmp_path: Path) -> None:
    read = ReadStudy(database, tmp_path / "archive")
    ask(database, read.study, "storescp", "ada")
    assert ask_for_window(database, "2026-10-26", "storescp", "ben") == 1
    nobody = PacsNode("storescp", "127.0.0.1", free_port(), "PEER", "SLUICE_TEST", "SLUICE", timeout_s=5)
    assert send_asked(database, nobody).as_dict() == {"objects": 1, "sent": 0, "failed": 1}
    assert open_nodes(database) == ["storescp"]
    with storescp(tmp_path) as node:
        assert send_asked(database, node).as_dict() == {"objects": 1, "sent": 1, "failed": 0}
    assert open_nodes(database) == []
    ask(database, read.study, "storescp", "ada")
    assert open_nodes(database) == ["storescp"], "who asks again gets it again"
