"""Orthanc and DCMTK's dcmqrscp as Debian packages them, with generated configuration, on free ports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from sluice.pacs.node import PacsNode
from sluice.stack.processes import free_port, start, stop, wait_until

PACKAGES = {"Orthanc": ("/usr/sbin/Orthanc", "orthanc"), "dcmqrscp": ("/usr/bin/dcmqrscp", "dcmtk")}
INSTALL = "apt-get install -y --no-install-recommends orthanc dcmtk"


def program(name: str) -> str:
    """Path of a peer's program; the test fails with the command that installs it."""
    path, _ = PACKAGES[name]
    if not Path(path).exists():
        pytest.fail(f"{name} is not installed. Run: {INSTALL}", pytrace=False)
    return path


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def node(name: str, port: int) -> PacsNode:
    return PacsNode(name, "127.0.0.1", port, "PEER", "SLUICE_TEST", "SLUICE", timeout_s=30)


@contextmanager
def orthanc(folder: Path, receiver_port: int, port: int | None = None, **more: object) -> Iterator[PacsNode]:
    """Orthanc that may move to our receiver; `more` are further settings of its configuration file."""
    port = port or free_port()
    configuration = {
        "Name": "peer", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"), "Plugins": [],
        "HttpPort": free_port(), "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
        "HttpServerEnabled": False, "DicomServerEnabled": True, "DicomAet": "PEER", "DicomPort": port,
        "DicomCheckCalledAet": True, "DicomAlwaysAllowFind": False, "DicomAlwaysAllowMove": False,
        "DicomModalities": {
            "sluice": ["SLUICE", "127.0.0.1", receiver_port],
            "asker": ["SLUICE_TEST", "127.0.0.1", receiver_port],
            "scanner": ["SCANNER", "127.0.0.1", receiver_port],
        },
    } | more  # fmt: skip
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    log = folder / "orthanc.log"
    process = start([program("Orthanc"), path], log, os.environ | {"TCP_NODELAY": "1"}, folder)
    try:
        wait_until(lambda: _listens(port), "Orthanc", 60, process, log)
        yield node("orthanc", port)
    finally:
        stop(process)


@contextmanager
def dcmqrscp(folder: Path, receiver_port: int, port: int | None = None) -> Iterator[PacsNode]:
    """DCMTK's dcmqrscp that may move to our receiver."""
    port = port or free_port()
    store = folder / "store"
    store.mkdir(exist_ok=True)
    path = folder / "dcmqrscp.cfg"
    path.write_text(
        f"NetworkTCPPort  = {port}\nMaxPDUSize      = 16384\nMaxAssociations = 16\n\n"
        f"HostTable BEGIN\nsluice = (SLUICE, 127.0.0.1, {receiver_port})\n"
        f"asker = (SLUICE_TEST, 127.0.0.1, {receiver_port})\nHostTable END\n\n"
        "VendorTable BEGIN\nVendorTable END\n\n"
        f"AETable BEGIN\nPEER {store} RW (500, 1024mb) ANY\nAETable END\n"
    )
    log = folder / "dcmqrscp.log"
    process = start([program("dcmqrscp"), "-c", path], log, os.environ | {"TCP_NODELAY": "1"}, folder)
    try:
        wait_until(lambda: _listens(port), "dcmqrscp", 60, process, log)
        yield node("dcmqrscp", port)
    finally:
        stop(process)


def fill(peer: PacsNode, instances: list[Dataset], folder: Path) -> None:
    """Put instances into a peer with DCMTK's storescu."""
    folder.mkdir(exist_ok=True)
    for number, instance in enumerate(instances):
        instance.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    program("dcmqrscp")  # storescu comes in the same package
    done = subprocess.run(
        ["/usr/bin/storescu", "-aet", "SCANNER", "-aec", peer.ae_title, "+sd", peer.host, str(peer.port), str(folder)],
        capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"TCP_NODELAY": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    sys.stdout.write(done.stdout)
