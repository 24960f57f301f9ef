"""Serve a built hospital's PACS until told to stop.

python -m sluice.hospital.serve HOME PORT [RECEIVER_PORT]
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

from sluice.hospital.pacs import HospitalPacs

DEFAULT_ALLOWED = ("SLUICE",)


class HospitalError(RuntimeError):
    """The simulated hospital cannot be served; the message says what to do."""


def serve(
    home: Path,
    port: int,
    ae_title: str = "HOSPITAL_PACS",
    destinations: Mapping[str, tuple[str, int]] | None = None,
    allowed_ae_titles: Collection[str] | None = DEFAULT_ALLOWED,
    host: str = "127.0.0.1",
    stopped: threading.Event | None = None,
    faults_file: Path | None = None,
) -> None:
    """Serve the PACS in `home` and block until SIGTERM or SIGINT (or until `stopped` is set).

    Args:
        home: folder that `sluice.hospital.build.build` wrote.
        destinations: AE title → (host, port) that a C-MOVE may name, such as `{"SLUICE": ("127.0.0.1", 11112)}`.
        faults_file: JSON file of faults, read again whenever it changes; None has the faults of the day.

    Raises:
        HospitalError: nothing is built there, or the port is taken.
        FaultsError: the faults cannot be read.
    """
    if not (home / "built.json").exists():
        raise HospitalError(f"There is no built hospital in {home}. With --build one is made first.")
    done = stopped or threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: done.set())
    pacs = HospitalPacs(home, ae_title, host, port, destinations, allowed_ae_titles, faults_file=faults_file)
    try:
        pacs.start()
    except OSError as problem:
        raise HospitalError(f"The hospital's PACS cannot listen on {host}:{port} ({problem.strerror}): "
                            "choose another port or stop what listens there.") from problem  # fmt: skip
    try:
        print(f"{ae_title} listens on {host}:{pacs.port} with {len(pacs.index.objects)} objects", flush=True)
        done.wait()
    finally:
        pacs.stop()


def main(arguments: list[str]) -> int:
    """Command line: serve until SIGTERM."""
    if len(arguments) not in (2, 3) or not all(one.isdigit() for one in arguments[1:]):
        print("usage: python -m sluice.hospital.serve HOME PORT [RECEIVER_PORT]", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    destinations = {"SLUICE": ("127.0.0.1", int(arguments[2]))} if len(arguments) == 3 else {}
    try:
        serve(Path(arguments[0]), int(arguments[1]), destinations=destinations)
    except HospitalError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
