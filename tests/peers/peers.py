"""Three PACSs behind one face: Orthanc, DCMTK's dcmqrscp and the simulated hospital, filled with the same files."""

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import requests
from pydicom import dcmread

from sluice.hospital.faults import Faults
from sluice.hospital.pacs import HospitalPacs
from sluice.pacs.node import PacsNode
from sluice.stack.processes import free_port
from tests.pacs.sending import sender, store_bytes
from tests.peers.servers import dcmqrscp, node, orthanc, program


class Peer(ABC):
    """A PACS that holds `files` and may move to our receiver; a context manager.

    Attributes:
        takes_private: it stores SOP classes that nobody knows.
        sends_compressed: it sends each object in the transfer syntax that it is stored in.
        says_a801: it tells an unknown move destination from other failures (PS3.4 table C.4-2).
    """

    takes_private = True
    sends_compressed = True
    says_a801 = True

    def __init__(self, folder: Path, receiver_port: int, files: Sequence[Path]) -> None:
        self.folder, self.receiver_port, self.files = folder, receiver_port, files
        self.port = free_port()
        self.node = node(type(self).__name__.lower(), self.port)

    def __enter__(self) -> Peer:
        self.start()
        self.fill(self.files)
        return self

    def __exit__(self, *problem: object) -> None:
        self.stop()

    def restart(self) -> None:
        self.stop()
        self.start()

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def fill(self, files: Sequence[Path]) -> None:
        """Put files into its store, in the place of what it holds of the same SOP Instance UID."""

    @abstractmethod
    def remove(self, path: Path) -> None:
        """Delete one instance."""


class Orthanc(Peer):
    says_a801 = False
    _running: AbstractContextManager[PacsNode]

    def __init__(self, folder: Path, receiver_port: int, files: Sequence[Path]) -> None:
        super().__init__(folder, receiver_port, files)
        self.http_port = free_port()

    def start(self) -> None:
        self._running = orthanc(
            self.folder, self.receiver_port, self.port, HttpServerEnabled=True, HttpPort=self.http_port,
            UnknownSopClassAccepted=True, DicomAlwaysAllowGet=True, OverwriteInstances=True,
        )  # fmt: skip
        self._running.__enter__()

    def stop(self) -> None:
        self._running.__exit__(None, None, None)

    def fill(self, files: Sequence[Path]) -> None:
        store(self.node, files)

    def remove(self, path: Path) -> None:
        base = f"http://127.0.0.1:{self.http_port}"
        with requests.Session() as session:
            session.trust_env = False
            (found,) = session.post(f"{base}/tools/lookup", data=dcmread(path).SOPInstanceUID, timeout=10).json()
            assert session.delete(f"{base}/instances/{found['ID']}", timeout=10).status_code == 200


class Dcmqrscp(Peer):
    takes_private = False  # it proposes the classes that it knows
    sends_compressed = False  # only by an option, and then one family of syntaxes
    _running: AbstractContextManager[PacsNode]

    def start(self) -> None:
        self._running = dcmqrscp(self.folder, self.receiver_port, self.port)
        self._running.__enter__()

    def stop(self) -> None:
        self._running.__exit__(None, None, None)

    def fill(self, files: Sequence[Path]) -> None:
        """Copy and index: its own Storage SCP takes uncompressed objects only."""
        program("dcmqrscp")
        kept = [shutil.copy(path, self._place(path)) for path in files]
        done = subprocess.run(
            ["/usr/bin/dcmqridx", str(self.folder / "store"), *map(str, kept)],
            capture_output=True, text=True, timeout=60, check=False, env=os.environ | {"TCP_NODELAY": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]

    def remove(self, path: Path) -> None:
        self._place(path).unlink()  # its index still lists it: it finds out when it is to send it

    def _place(self, path: Path) -> Path:
        return self.folder / "store" / path.name


class Hospital(Peer):
    def __init__(self, folder: Path, receiver_port: int, files: Sequence[Path]) -> None:
        super().__init__(folder, receiver_port, files)
        (folder / "pacs").mkdir()
        for path in files:
            shutil.copy(path, folder / "pacs")
        self.pacs = HospitalPacs(
            folder, "PEER", port=self.port, destinations={"SLUICE": ("127.0.0.1", receiver_port)},
            allowed_ae_titles=("SLUICE_TEST",), faults=Faults(),
        )  # fmt: skip

    def start(self) -> None:
        self.pacs.start()

    def stop(self) -> None:
        self.pacs.stop()

    def fill(self, files: Sequence[Path]) -> None:
        for path in files:
            self.pacs.index.add(Path(shutil.copy(path, self.folder / "pacs")))

    def remove(self, path: Path) -> None:
        self.pacs.faults.absent.add(str(dcmread(path).SOPInstanceUID))


PEERS = {"orthanc": Orthanc, "dcmqrscp": Dcmqrscp, "hospital": Hospital}


def store(peer: PacsNode, files: Sequence[Path]) -> None:
    """C-STORE each file with the bytes of its dataset as they are."""
    read = [dcmread(path) for path in files]
    contexts = sorted({(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in read})
    for sop_class, syntax in contexts:
        with sender(peer.port, [(sop_class, syntax)], called=peer.ae_title) as association:
            for path, one in zip(files, read, strict=True):
                if (one.SOPClassUID, one.file_meta.TransferSyntaxUID) == (sop_class, syntax):
                    status = store_bytes(association, dataset_bytes(path), sop_class, one.SOPInstanceUID)
                    assert status == 0, f"{peer.name} answered {status} to {path.name}"


def dataset_bytes(path: Path) -> bytes:
    """What follows the File Meta Information (PS3.10 7.1)."""
    data = path.read_bytes()
    return data[132 + 12 + int.from_bytes(data[140:144], "little") :]
