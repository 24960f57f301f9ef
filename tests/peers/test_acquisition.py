"""The same acquisition from Orthanc, dcmqrscp and the simulated hospital: each PACS is filled once, a test has a day.

Fetching by every way there is, DICOMweb too, is in `test_retrieval.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from sluice.archive.storing import Storing
from sluice.database import Database
from sluice.pacs.association import MOVE, associate, identifier_of
from sluice.pacs.echo import echo
from sluice.pacs.errors import PacsError, PacsRefused, PacsStatusError
from sluice.pacs.fetch.retrieve import missing_studies, note_gaps, retrieve_missing
from sluice.pacs.fetch.ways import Source
from sluice.pacs.find.cohort import CohortRow, RowAnswer, sweep_cohort
from sluice.pacs.find.sweep import sweep
from sluice.pacs.receiver.receive import Receiver
from sluice.stack.processes import free_port
from sluice.windows import Window
from tests.pacs.pretend import UID_ROOT, make_study
from tests.pacs.sending import rows, send
from tests.peers.peers import PEERS, Hospital, Peer, dataset_bytes

pytestmark = pytest.mark.peer
PRIVATE_CLASS = "1.2.826.0.1.3680043.10.999.77.1"
# pydicom's own test files: JPEG Lossless, JPEG 2000, JPEG-LS, RLE, RLE of two frames, Big Endian, 15 frames
REAL = (
    "SC_rgb_jpeg_gdcm.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm",
    "SC_rgb_rle_2frame.dcm", "MR_small_bigendian.dcm", "rtdose.dcm",
)  # fmt: skip
DAYS = {
    name: date(2026, 10, 1 + number)
    for number, name in enumerate(("whole", "before", "real", "gone", "replaced", "many", "restart", "private"))
}


class Day:
    """What the PACSs hold of one day, and how it is acquired."""

    def __init__(self, name: str, studies: Sequence[Sequence[Dataset]], folder: Path) -> None:
        self.window = Window.of_day(DAYS[name])
        self.studies = studies
        self.files: list[Path] = []
        for number, instance in enumerate([instance for study in studies for instance in study]):
            instance.StudyDate = f"{DAYS[name]:%Y%m%d}"
            self.files.append(folder / f"{name}-{number}.dcm")
            instance.save_as(self.files[-1], enforce_file_format=True)

    @property
    def uids(self) -> set[str]:
        return {str(instance.SOPInstanceUID) for study in self.studies for instance in study}


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Day]:
    folder = tmp_path_factory.mktemp("files")
    whole = [
        make_study(2, 3, StudyTime="081500", AccessionNumber="A1", PatientName="Doe^Jane"),
        make_study(1, 2, StudyTime="101500.25", AccessionNumber="A2", PatientID="P2", PatientName="Doe^Jane"),
        make_study(1, 2, StudyTime="235959.9", AccessionNumber="", PatientID="P3", PatientName="Doe^Jane"),
        make_study(
            1, 2, StudyTime="1215", AccessionNumber="A4", PatientID="P4", SpecificCharacterSet="ISO_IR 144",
            PatientName="Иванов^Иван", StudyDescription="Рентген",
        ),
    ]  # fmt: skip
    studies = {
        "whole": whole,
        "before": [make_study(1, 1, AccessionNumber="A5", PatientID="P5")],
        "real": [[_real(name)] for name in REAL],
        "gone": [make_study(1, 4, PatientID="P6", AccessionNumber="A6")],
        "replaced": [make_study(1, 2, PatientID="P7", AccessionNumber="A7")],
        "many": [make_study(1, 1, PatientID=f"M{n}", AccessionNumber=f"M{n}") for n in range(25)],
        "restart": [make_study(1, 5, PatientID=f"R{n}", AccessionNumber=f"R{n}") for n in range(12)],
        "private": [make_study(1, 2, PatientID="P8", AccessionNumber="A8", SOPClassUID=PRIVATE_CLASS)],
    }
    return {name: Day(name, members, folder) for name, members in studies.items()}


def _real(name: str) -> Dataset:
    """A file of pydicom's tests as a study of its own."""
    path = get_testdata_file(name)
    assert isinstance(path, str)
    dataset = dcmread(path)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(UID_ROOT), generate_uid(UID_ROOT)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(UID_ROOT)
    dataset.StudyTime, dataset.AccessionNumber, dataset.PatientID = "120000", "", "REAL"
    return dataset


@pytest.fixture(scope="module", params=PEERS)
def peer(
    request: pytest.FixtureRequest, days: dict[str, Day], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Peer]:
    kind: type[Peer] = PEERS[request.param]
    files = [path for name, day in days.items() for path in day.files if kind.takes_private or name != "private"]
    with kind(tmp_path_factory.mktemp("peer"), free_port(), files) as running:
        yield running


@pytest.fixture
def receiver(peer: Peer, database: Database, tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(
        database, tmp_path / "archive", port=peer.receiver_port, min_free_bytes=1, move_source_ae_titles=("PEER",)
    ) as running:
        yield running


@pytest.fixture
def storing(database: Database, tmp_path: Path) -> Iterator[Storing]:
    with Storing(database, tmp_path / "archive", tmp_path / "task-spool", min_free_bytes=1) as running:
        yield running


def fetch(database: Database, peer: Peer, window: Window, storing: Storing, way: str = "C-MOVE") -> dict[str, str]:
    """One pass and the noting of gaps; the reasons of what is missing."""
    source = Source(replace(peer.node, retrieve_by=way))
    try:
        retrieve_missing(database, [source], window.key, missing_studies(database, window.key), storing)
    except PacsError:
        pass
    note_gaps(database, window.key, missing_studies(database, window.key))
    statement = "select sop_instance_uid, reason_code from open_gap where step = 'received' and window_key = '{}'"
    found = rows(database, statement.format(window.key))
    return {str(row["sop_instance_uid"]): str(row["reason_code"]) for row in found}


def receipts(database: Database) -> dict[str, dict[str, object]]:
    return {str(row["sop_instance_uid"]): row for row in rows(database, "select * from receipt")}


@pytest.mark.parametrize("way", ["C-MOVE", "C-GET"])
def test_a_day_is_complete_and_a_gap_is_repaired(
    peer: Peer, database: Database, receiver: Receiver, storing: Storing, days: dict[str, Day], way: str
) -> None:
    day = days["whole"]
    assert "PEER@127.0.0.1" in echo(peer.node)
    send(receiver.port, day.studies[0][:2])  # two images of the first study came by themselves
    summary = sweep(database, peer.node, day.window)
    assert (summary.studies, summary.series, summary.instances, summary.uncertain) == (4, 5, 12, 0)
    assert {r["sop_instance_uid"] for r in rows(database, "select sop_instance_uid from expectation")} == day.uids
    assert fetch(database, peer, day.window, storing, way) == {}
    assert receipts(database).keys() == day.uids
    sources = {(r["source"], r["n"]) for r in rows(database, "select source, count(*) as n from receipt group by 1")}
    assert sources == {("push", 2), ("move" if way == "C-MOVE" else "get", 10)}


def test_objects_come_in_the_transfer_syntax_that_they_are_stored_in(
    peer: Peer, database: Database, receiver: Receiver, storing: Storing, days: dict[str, Day]
) -> None:
    day = days["real"]
    assert sweep(database, peer.node, day.window).instances == len(REAL)
    gaps = fetch(database, peer, day.window, storing)
    kept = receipts(database)
    for path in day.files:
        original = dcmread(path)
        uid, syntax = str(original.SOPInstanceUID), original.file_meta.TransferSyntaxUID
        if syntax.is_compressed and not peer.sends_compressed:
            assert gaps.pop(uid) == "failed-suboperation", path.name
            continue
        stored = dcmread(storing.archive.root / str(kept[uid]["path"]))
        assert stored.get("NumberOfFrames") == original.get("NumberOfFrames")
        if syntax.is_compressed:
            assert kept[uid]["transfer_syntax_uid"] == syntax, path.name
            assert stored.PixelData == original.PixelData, path.name
        else:  # a PACS may store and send these in another uncompressed syntax
            assert (stored.pixel_array == original.pixel_array).all(), path.name
    assert gaps == {}


def test_what_is_gone_since_the_sweep_is_missing_with_a_reason(
    peer: Peer, database: Database, receiver: Receiver, storing: Storing, days: dict[str, Day]
) -> None:
    day = days["gone"]
    sweep(database, peer.node, day.window)
    peer.remove(day.files[0])
    gone = str(day.studies[0][0].SOPInstanceUID)
    gaps = fetch(database, peer, day.window, storing)
    assert gaps.keys() == {gone}
    # dcmqrscp's index still lists it, so that it tries to send it
    assert gaps[gone] in ("no-longer-held", "failed-suboperation", "reported-not-arrived")
    assert receipts(database).keys() == day.uids - {gone}


def test_what_was_replaced_is_set_aside_when_it_comes_again(
    peer: Peer, database: Database, receiver: Receiver, storing: Storing, days: dict[str, Day], tmp_path: Path
) -> None:
    day = days["replaced"]
    sweep(database, peer.node, day.window)
    assert fetch(database, peer, day.window, storing) == {}
    first = receipts(database)
    changed = dcmread(day.files[0])
    changed.ImageComments = f"replaced at {peer.node.name}"
    path = tmp_path / day.files[0].name
    changed.save_as(path, enforce_file_format=True)
    peer.fill([path])
    with associate(peer.node, MOVE) as association:
        association.move(identifier_of("STUDY", {"StudyInstanceUID": str(changed.StudyInstanceUID)}))
    _until(lambda: rows(database, "select from receipt_conflict") != [])
    assert receipts(database) == first
    (aside,) = rows(database, "select * from receipt_conflict")
    assert aside["sop_instance_uid"] == changed.SOPInstanceUID
    assert dataset_bytes(storing.archive.root / str(aside["path"])) == dataset_bytes(path)


def test_many_small_studies(
    peer: Peer, database: Database, receiver: Receiver, storing: Storing, days: dict[str, Day]
) -> None:
    day = days["many"]
    sweep(database, peer.node, day.window)
    before = peer.pacs.associations if isinstance(peer, Hospital) else 0
    assert fetch(database, peer, day.window, storing) == {}
    assert receipts(database).keys() == day.uids
    if isinstance(peer, Hospital):
        assert peer.pacs.associations - before == 1, "one for all of them"


def test_a_peer_that_restarts_in_the_middle(
    peer: Peer, database: Database, receiver: Receiver, storing: Storing, days: dict[str, Day]
) -> None:
    day = days["restart"]
    sweep(database, peer.node, day.window)
    middle = threading.Thread(target=fetch, args=(database, peer, day.window, storing))
    middle.start()
    _until(lambda: len(rows(database, "select from receipt")) >= 3)
    peer.restart()
    middle.join()
    for _ in range(3):
        if fetch(database, peer, day.window, storing) == {}:
            break
    assert receipts(database).keys() == day.uids
    assert missing_studies(database, day.window.key) == []
    assert rows(database, "select from receipt_conflict") == []


def test_a_private_sop_class(
    peer: Peer, database: Database, receiver: Receiver, storing: Storing, days: dict[str, Day]
) -> None:
    day = days["private"]
    found = sweep(database, peer.node, day.window).instances
    assert found == (2 if peer.takes_private else 0)
    assert fetch(database, peer, day.window, storing) == {}
    classes = {one["sop_class_uid"] for one in receipts(database).values()}
    assert classes == ({PRIVATE_CLASS} if peer.takes_private else set())


def test_rows_of_a_cohort_are_answered(
    peer: Peer, database: Database, receiver: Receiver, storing: Storing, days: dict[str, Day]
) -> None:
    window = Window.of_cohort("ivc", "peer", date(2026, 10, 1), date(2026, 10, 31))
    wanted = [
        CohortRow(2, accession="A2"),
        CohortRow(3, accession="NONE"),
        CohortRow(4, patient_id="P4", starts_on=date(2026, 10, 1), ends_on=date(2026, 10, 31)),
        CohortRow(5, study_uid=days["before"].studies[0][0].StudyInstanceUID),
    ]
    answers: list[RowAnswer] = []
    sweep_cohort(database, peer.node, window, wanted, answered=answers.append)
    assert [answer.outcome for answer in answers] == ["found", "not-found", "found", "found"]
    assert fetch(database, peer, window, storing) == {}
    assert len(receipts(database)) == 5


def test_a_wrong_ae_title_is_explained(peer: Peer) -> None:
    with pytest.raises(PacsRefused, match="AE title"):
        echo(replace(peer.node, ae_title="WRONG"))


def test_an_unknown_destination_is_explained(
    peer: Peer, database: Database, storing: Storing, days: dict[str, Day]
) -> None:
    window = days["before"].window
    sweep(database, peer.node, window)
    source = Source(replace(peer.node, move_destination="NOBODY", retrieve_by="C-MOVE"))
    if peer.says_a801:
        with pytest.raises(PacsStatusError, match="NOBODY"):
            retrieve_missing(database, [source], window.key, missing_studies(database, window.key), storing)
    else:
        retrieve_missing(database, [source], window.key, missing_studies(database, window.key), storing)
    note_gaps(database, window.key, missing_studies(database, window.key))
    (gap,) = rows(database, "select reason_code from open_gap where step = 'received'")
    assert gap["reason_code"] == "refused"


def test_splitting_by_time_loses_nothing(peer: Peer, database: Database, days: dict[str, Day]) -> None:
    """The peers do not cap, so the time pieces are asked as a capped day would ask them."""
    from sluice.pacs.find.audit import begin_run
    from sluice.pacs.find.inventory import Inventory
    from sluice.pacs.find.pieces import Piece
    from sluice.pacs.find.splitting import Facts
    from sluice.windows import remember_window

    window = days["whole"].window
    remember_window(database, window)
    day = window.starts_on
    run = begin_run(database, peer.node.name, window)
    with Inventory(database, peer.node, window, run, Facts()) as inventory:
        for cut in (3600, 30_000, 36_900, 36_901, 44_100, 86_398):
            early = inventory.ask_studies(Piece(day, day, to_s=cut)).answers
            late = inventory.ask_studies(Piece(day, day, from_s=cut)).answers
            assert len(early.keys() | late.keys()) == 4, cut
        for patient in ("P2", "P*"):
            assert inventory.ask_studies(Piece(day, day, patient_id=patient)).answers
        assert len(inventory.ask_studies(Piece(day, day, modality="CT")).answers) == 4


def _until(condition: object, deadline_s: float = 30) -> None:
    assert callable(condition)
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
