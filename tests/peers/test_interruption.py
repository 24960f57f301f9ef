"""A pause in the middle of a large study, against Orthanc and DCMTK's dcmqrscp: who stops, and how soon."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from sluice.archive.intake import Taking
from sluice.archive.storing import Storing
from sluice.database import Database
from sluice.pacs.find.sweep import sweep
from sluice.pacs.governor import RetrievalPaused
from sluice.pacs.governor.orders import order_retrieval
from sluice.pacs.receiver.receive import Receiver
from sluice.windows import Window
from tests.pacs.interrupting import LONGEST_S, Retrieval, holder_has_looked, told_to_stop
from tests.pacs.pretend import make_study
from tests.pacs.sending import rows
from tests.peers.test_retrieval import Peer, filled_dcmqrscp, filled_orthanc

pytestmark = pytest.mark.peer
WINDOW = Window.of_day(date(2026, 10, 26))
KEY = WINDOW.key
INSTANCES, BEFORE = 300, 30


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A study of two series."""
    folder = tmp_path_factory.mktemp("files")
    made = []
    for number, instance in enumerate(make_study(2, INSTANCES // 2, PatientName="Doe^Jane")):
        instance.PixelData = bytes(60_000)
        instance.Rows, instance.Columns = 100, 300
        instance.BitsAllocated = instance.BitsStored = 16
        instance.HighBit, instance.PixelRepresentation, instance.SamplesPerPixel = 15, 0, 1
        instance.PhotometricInterpretation = "MONOCHROME2"
        made.append(folder / f"{number}.dcm")
        instance.save_as(made[-1], enforce_file_format=True)
    return made


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
def test_a_pause_ends_what_is_under_way(
    peer: Peer,
    way: str,
    database: Database,
    storing: Storing,
    receiver: Receiver,
    files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached, go = threading.Event(), threading.Event()
    finish, numbers = Taking.finish, itertools.count()

    def stopping(self: Taking) -> tuple[int, str]:
        if next(numbers) >= BEFORE:
            reached.set()
            assert go.wait(LONGEST_S)
        return finish(self)

    folder = tmp_path / "peer"
    folder.mkdir()
    with peer(folder, files, receiver.port) as node, told_to_stop(monkeypatch) as told:
        sweep(database, node, WINDOW)
        expected = rows(database, "select count(*) as n from expectation")[0]["n"]
        source = replace(node, retrieve_by=way)
        with monkeypatch.context() as patch:
            patch.setattr(Taking, "finish", stopping)
            retrieval = Retrieval(database, source, KEY, storing).start()
            assert reached.wait(LONGEST_S)
            retrieval.ordered()
            order_retrieval(database, KEY, "vera", "paused")
            if way == "DICOMweb":
                holder_has_looked(database)
            else:
                assert told.wait(LONGEST_S)
            go.set()
            outcome = retrieval.outcome
        assert isinstance(outcome, RetrievalPaused), outcome
        (attempt,) = rows(database, "select * from attempt")
        (late,) = rows(
            database,
            "select extract(epoch from max(received_at) - (select max(ordered_at) from window_order)) as s, "
            "count(*) as n from receipt",
        )
        print(peer.__name__, way, f"{retrieval.took_s:.1f} s", late, attempt["status"], attempt["completed"])
        assert (attempt["reason_code"], attempt["wanted"]) == ("interrupted", expected)
        assert BEFORE <= int(str(late["n"])) < expected
        assert rows(database, "select * from pacs_event") == []
        order_retrieval(database, KEY, "vera", "active")
        summary = Retrieval(database, source, KEY, storing).start().outcome
    assert (summary.missing, summary.arrived) == (0, expected - late["n"])
    (held,) = rows(database, "select count(*) as n, count(distinct sop_instance_uid) as different from receipt")
    assert held == {"n": expected, "different": expected}
