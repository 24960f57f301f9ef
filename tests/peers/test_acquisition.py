"""The same acquisition against real peers: sweep, move, repair, and an honest refusal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from sluice.database import Database
from sluice.pacs.cohort import CohortRow, sweep_cohort
from sluice.pacs.echo import echo
from sluice.pacs.errors import PacsRefused
from sluice.pacs.node import PacsNode
from sluice.pacs.receive import Receiver
from sluice.pacs.retrieve import missing_studies, move_missing
from sluice.pacs.sweep import sweep
from sluice.windows import Window
from tests.pacs.pretend import make_study
from tests.pacs.sending import rows, send
from tests.peers.servers import dcmqrscp, fill, orthanc

pytestmark = pytest.mark.peer
WINDOW = Window.of_day(date(2026, 10, 26))
KEY = WINDOW.key


@pytest.fixture
def receiver(database: Database, tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(database, tmp_path / "archive", min_free_bytes=1, move_source_ae_titles=("PEER",)) as running:
        yield running


@pytest.fixture(scope="module")
def studies() -> list[list[Dataset]]:
    """Four studies of the day, one with odd values, and one of the day before."""
    return [
        make_study(2, 3, StudyTime="081500", AccessionNumber="A1", PatientName="Doe^Jane"),
        make_study(1, 2, StudyTime="101500.25", AccessionNumber="A2", PatientID="P2", PatientName="Doe^Jane"),
        make_study(1, 2, StudyTime="235959.9", AccessionNumber="", PatientID="P3", PatientName="Doe^Jane"),
        make_study(
            1, 2, StudyTime="1215", AccessionNumber="A4", PatientID="P4", SpecificCharacterSet="ISO_IR 144",
            PatientName="Иванов^Иван", StudyDescription="Рентген",
        ),
        make_study(1, 1, StudyDate="20261025", AccessionNumber="A5", PatientID="P5", PatientName="Doe^Jane"),
    ]  # fmt: skip


@pytest.fixture(params=["orthanc", "dcmqrscp"])
def peer(
    request: pytest.FixtureRequest, receiver: Receiver, tmp_path: Path, studies: list[list[Dataset]]
) -> Iterator[PacsNode]:
    folder = tmp_path / "peer"
    folder.mkdir()
    with {"orthanc": orthanc, "dcmqrscp": dcmqrscp}[request.param](folder, receiver.port) as node:
        fill(node, [instance for study in studies for instance in study], tmp_path / "files")
        yield node


def test_a_day_is_complete_and_a_gap_is_repaired(
    peer: PacsNode, database: Database, receiver: Receiver, studies: list[list[Dataset]]
) -> None:
    assert "PEER@127.0.0.1" in echo(peer)
    of_day = [instance for study in studies[:4] for instance in study]
    send(receiver.port, of_day[:2])  # two images of the first study came by themselves
    summary = sweep(database, peer, WINDOW)
    assert (summary.studies, summary.series, summary.instances, summary.uncertain) == (4, 5, 12, 0)
    expected = {r["sop_instance_uid"] for r in rows(database, "select sop_instance_uid from expectation")}
    assert expected == {instance.SOPInstanceUID for instance in of_day}
    moved = move_missing(database, peer, KEY, missing_studies(database, KEY))
    assert (moved.wanted, moved.arrived, moved.missing) == (10, 10, 0)
    assert missing_studies(database, KEY) == []
    assert len(rows(database, "select from receipt")) == 12
    sources = {(r["source"], r["n"]) for r in rows(database, "select source, count(*) as n from receipt group by 1")}
    assert sources == {("push", 2), ("move", 10)}


def test_rows_of_a_cohort_are_answered(peer: PacsNode, database: Database, studies: list[list[Dataset]]) -> None:
    window = Window.of_cohort("ivc", "peer", date(2026, 10, 1), date(2026, 10, 31))
    wanted = [
        CohortRow(2, accession="A2"),
        CohortRow(3, accession="NONE"),
        CohortRow(4, patient_id="P4", starts_on=date(2026, 10, 1), ends_on=date(2026, 10, 31)),
        CohortRow(5, study_uid=studies[4][0].StudyInstanceUID),
    ]
    summary = sweep_cohort(database, peer, window, wanted)
    assert [answer.outcome for answer in summary.answers] == ["found", "not-found", "found", "found"]
    moved = move_missing(database, peer, window.key, missing_studies(database, window.key))
    assert (moved.wanted, moved.missing) == (5, 0)


def test_a_wrong_ae_title_is_explained(peer: PacsNode) -> None:
    with pytest.raises(PacsRefused, match="AE title"):
        echo(PacsNode(peer.name, peer.host, peer.port, "WRONG", peer.calling_ae_title, "SLUICE"))


def test_splitting_by_time_loses_nothing(peer: PacsNode, database: Database) -> None:
    """The peers do not cap, so the time pieces are asked as a capped day would ask them."""
    from sluice.pacs.inventory import Inventory
    from sluice.pacs.splitting import Piece
    from sluice.windows import remember_window

    remember_window(database, WINDOW)
    day = WINDOW.starts_on
    with Inventory(database, peer, WINDOW) as inventory:
        for cut in (3600, 30_000, 36_900, 36_901, 44_100, 86_398):
            early = inventory.ask_studies(Piece(day, day, to_s=cut)).answers
            late = inventory.ask_studies(Piece(day, day, from_s=cut)).answers
            assert len(early.keys() | late.keys()) == 4, cut
        for patient in ("P2", "P*"):
            assert inventory.ask_studies(Piece(day, day, patient_id=patient)).answers
        assert len(inventory.ask_studies(Piece(day, day, modality="CT")).answers) == 4
