"""The scanners that send their pictures to us by themselves."""

from __future__ import annotations

from pathlib import Path

from pynetdicom import AE, _config, evt
from pynetdicom.presentation import build_context

from sluice.pacs.serving import ReactorGate, no_delay


class PushError(RuntimeError):
    """A scanner could not send; the message says which and what to do."""


def push(home: Path, receiver: tuple[str, int, str]) -> int:
    """Send every study marked `pushed` from its scanner's AE title to `receiver` (host, port, AE title) by C-STORE.

    Returns:
        Objects the receiver acknowledged with 0x0000.

    Raises:
        PushError: the receiver did not take the association or answered another status.
    """
    _config.STORE_SEND_CHUNKED_DATASET = True  # files go as they are; see HospitalPacs.start
    sent = 0
    for folder in sorted(path for path in (home / "scanners").glob("*") if path.is_dir()):
        sent += _push_one(folder, receiver)
    return sent


def _push_one(folder: Path, receiver: tuple[str, int, str]) -> int:
    from pydicom.filereader import read_file_meta_info

    host, port, called = receiver
    files = sorted(folder.rglob("*.dcm"))
    pairs = set()
    for path in files:
        meta = read_file_meta_info(path)
        pairs.add((str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)))
    ae = AE(ae_title=folder.name)
    association = ae.associate(
        host,
        port,
        contexts=[build_context(sop_class, syntax) for sop_class, syntax in sorted(pairs)],
        ae_title=called,
        max_pdu=0,
        evt_handlers=[(evt.EVT_CONN_OPEN, no_delay)],
    )
    if not association.is_established:
        raise PushError(
            f"Scanner {folder.name} could not reach {called} at {host}:{port}: is the receiver running, "
            "and does it accept this AE title?"
        )
    gate = ReactorGate(association)
    try:
        for path in files:
            gate.park()
            status = association.send_c_store(path)
            if "Status" not in status or status.Status != 0x0000:
                code = f"0x{status.Status:04X}" if "Status" in status else "no answer"
                raise PushError(f"{called} answered {code} to an object of scanner {folder.name}.")
    finally:
        association.release()
    return len(files)
