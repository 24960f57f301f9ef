"""Every way to fetch, against Orthanc (C-MOVE, C-GET, DICOMweb) and DCMTK's dcmqrscp (C-MOVE, C-GET)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, RLELossless, SecondaryCaptureImageStorage

from sluice.archive.storing import Storing
from sluice.database import Database
from sluice.pacs.errors import PacsStatusError
from sluice.pacs.fetch.retrieve import missing_studies, note_gaps, retrieve_missing
from sluice.pacs.fetch.ways import Source
from sluice.pacs.find.sweep import sweep
from sluice.pacs.node import Credentials, PacsNode
from sluice.pacs.receiver.receive import Receiver
from sluice.stack.processes import free_port
from sluice.windows import Window
from tests.pacs.pretend import make_study
from tests.pacs.sending import rows, sender, store_bytes
from tests.peers.servers import dcmqrscp, orthanc, program

pytestmark = pytest.mark.peer
WINDOW = Window.of_day(date(2026, 10, 26))
KEY = WINDOW.key
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
COMPRESSED = 4  # position of that file
LOGIN, PASSWORD = "sluice", "only-for-this-test"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of two studies of three SOP classes, one instance compressed."""
    folder = tmp_path_factory.mktemp("files")
    instances = [
        *make_study(2, 3, PatientName="Doe^Jane"),
        *make_study(1, 4, PatientID="P2", PatientName="Doe^Jane"),
    ]
    classes = [CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage]
    made = []
    for number, instance in enumerate(instances):
        instance.SOPClassUID = classes[number % 3]
        instance.BitsAllocated = instance.BitsStored = 16
        instance.HighBit, instance.PixelRepresentation, instance.SamplesPerPixel = 15, 0, 1
        instance.PhotometricInterpretation = "MONOCHROME2"
        if number == COMPRESSED:
            instance.compress(RLELossless, generate_instance_uid=False)
        made.append(folder / f"{number}.dcm")
        instance.save_as(made[-1], enforce_file_format=True)
    return made


@contextmanager
def filled_orthanc(folder: Path, files: list[Path], receiver_port: int) -> Iterator[PacsNode]:
    """Orthanc with its DICOMweb plugin behind a password."""
    if not PLUGIN.exists():
        pytest.fail("Run: apt-get install -y --no-install-recommends orthanc-dicomweb", pytrace=False)
    port = free_port()
    settings = {
        "Plugins": [str(PLUGIN)], "HttpServerEnabled": True, "HttpPort": port, "DicomAlwaysAllowGet": True,
        "AuthenticationEnabled": True, "RegisteredUsers": {LOGIN: PASSWORD}, "DicomWeb": {"Root": "/dicom-web/"},
        "UnknownSopClassAccepted": True,
    }  # fmt: skip
    with orthanc(folder, receiver_port, **settings) as node:
        send_files(node, files)
        yield replace(node, dicomweb_url=f"http://127.0.0.1:{port}/dicom-web", credentials=Credentials(LOGIN, PASSWORD))


@contextmanager
def filled_dcmqrscp(folder: Path, files: list[Path], receiver_port: int) -> Iterator[PacsNode]:
    """dcmqrscp with files put into its store as they are, without the compressed one.

    It sends by the first context that was accepted for a class, so that an object in another syntax cannot go.
    """
    with dcmqrscp(folder, receiver_port) as node:
        kept = [Path(shutil.copy(path, folder / "store")) for path in files if path is not files[COMPRESSED]]
        program("dcmqrscp")
        done = subprocess.run(
            ["/usr/bin/dcmqridx", str(folder / "store"), *map(str, kept)],
            capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"TCP_NODELAY": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        yield node


def send_files(node: PacsNode, files: list[Path]) -> None:
    """C-STORE each file with the bytes of its dataset as they are."""
    read = [dcmread(path) for path in files]
    contexts = sorted({(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in read})
    for sop_class, syntax in contexts:
        with sender(node.port, [(sop_class, syntax)], called=node.ae_title) as association:
            for path, one in zip(files, read, strict=True):
                if (one.SOPClassUID, one.file_meta.TransferSyntaxUID) == (sop_class, syntax):
                    data = path.read_bytes()
                    begin = 132 + 12 + int.from_bytes(data[140:144], "little")
                    assert store_bytes(association, data[begin:], sop_class, one.SOPInstanceUID) == 0


Peer = Callable[[Path, list[Path], int], AbstractContextManager[PacsNode]]


@pytest.mark.parametrize(
    ("peer", "way"),
    [
        (filled_orthanc, "C-MOVE"),
        (filled_orthanc, "C-GET"),
        (filled_orthanc, "DICOMweb"),
        (filled_dcmqrscp, "C-MOVE"),
        (filled_dcmqrscp, "C-GET"),
    ],
)
def test_a_day_comes_as_it_is_stored(
    peer: Peer, way: str, database: Database, storing: Storing, receiver: Receiver, files: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "peer"
    folder.mkdir()
    with peer(folder, files, receiver.port) as node:
        sweep(database, node, WINDOW)
        source = Source(replace(node, retrieve_by=way))
        summary = retrieve_missing(database, [source], KEY, missing_studies(database, KEY), storing)
    count = 10 if peer is filled_orthanc else 9
    assert (summary.wanted, summary.arrived, summary.requests, summary.missing) == (count, count, 2, 0)
    kept = {one["sop_instance_uid"]: one for one in rows(database, "select * from receipt")}
    assert len(kept) == count
    for original in map(dcmread, files):
        if original.SOPInstanceUID not in kept:
            continue
        stored = dcmread(storing.archive.root / str(kept[original.SOPInstanceUID]["path"]))
        assert stored.PixelData == original.PixelData
        assert stored.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    assert {one["source"] for one in kept.values()} == {"move" if way == "C-MOVE" else "get"}


@pytest.mark.parametrize("peer", [filled_orthanc, filled_dcmqrscp])
def test_a_pacs_that_does_not_know_our_receiver_is_asked_by_c_get(
    peer: Peer, database: Database, storing: Storing, files: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "peer"
    folder.mkdir()
    with peer(folder, files, free_port()) as node:
        sweep(database, node, WINDOW)
        source = Source(replace(node, move_destination="NOBODY", dicomweb_url=None))
        assert retrieve_missing(database, [source], KEY, missing_studies(database, KEY), storing).missing == 0
    assert rows(database, "select fact, value from pacs_fact where fact = 'moves'") == [{"fact": "moves", "value": 0}]
    (first, *others) = rows(database, "select kind, status from attempt order by attempt_id")
    assert first["kind"] == "C-MOVE"
    assert {one["kind"] for one in others} == {"C-GET"}


@pytest.mark.parametrize("way", ["C-MOVE", "C-GET", "DICOMweb"])
def test_what_was_deleted_since_the_sweep_is_said(
    way: str, database: Database, storing: Storing, receiver: Receiver, files: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "peer"
    folder.mkdir()
    gone = [dcmread(path) for path in (files[0], *files[6:])]
    with filled_orthanc(folder, files, receiver.port) as node:
        sweep(database, node, WINDOW)
        delete(node, gone)
        source = Source(replace(node, retrieve_by=way))
        studies = missing_studies(database, KEY)
        summary = retrieve_missing(database, [source], KEY, studies, storing)
    assert (summary.arrived, summary.gone, summary.missing) == (5, 5, 5)
    note_gaps(database, KEY, studies)
    found = rows(database, "select sop_instance_uid, reason_code from open_gap where step = 'received'")
    assert {one["sop_instance_uid"]: one["reason_code"] for one in found} == {
        one.SOPInstanceUID: "no-longer-held" for one in gone
    }


def test_orthanc_is_swept_by_qido(database: Database, storing: Storing, files: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "peer"
    folder.mkdir()
    with filled_orthanc(folder, files, free_port()) as node:
        summary = sweep(database, replace(node, query_by="QIDO-RS", retrieve_by="DICOMweb"), WINDOW)
    assert (summary.studies, summary.series, summary.instances, summary.uncertain) == (2, 3, 10, 0)
    found = rows(database, "select sop_instance_uid, study_instance_uid, sop_class_uid, modality from expectation")
    assert {tuple(one.values()) for one in found} == {
        (one.SOPInstanceUID, one.StudyInstanceUID, one.SOPClassUID, one.Modality) for one in map(dcmread, files)
    }


def test_a_wrong_password_is_said(
    database: Database, storing: Storing, receiver: Receiver, files: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "peer"
    folder.mkdir()
    with filled_orthanc(folder, files, receiver.port) as node:
        sweep(database, node, WINDOW)
        wrong = replace(node, retrieve_by="DICOMweb", credentials=Credentials(LOGIN, "wrong"))
        with pytest.raises(PacsStatusError, match="401") as caught:
            retrieve_missing(database, [Source(wrong)], KEY, missing_studies(database, KEY), storing)
    assert caught.value.permanent


def delete(node: PacsNode, instances: list[Dataset]) -> None:
    """Through Orthanc's own interface."""
    import requests

    base = str(node.dicomweb_url).removesuffix("/dicom-web")
    with requests.Session() as session:
        session.trust_env = False
        session.auth = (node.credentials.login, node.credentials.password)
        for one in instances:
            (found,) = session.post(f"{base}/tools/lookup", data=one.SOPInstanceUID, timeout=10).json()
            assert session.delete(f"{base}/instances/{found['ID']}", timeout=10).status_code == 200
