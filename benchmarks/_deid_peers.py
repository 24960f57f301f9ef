"""Run inside the peers' own virtual environment: `python _deid_peers.py TOOL SOURCE TARGET` prints seconds.

Files are read from SOURCE and written to TARGET one after the other in one process. What a tool can prepare once
(its table of rules, its random seed) is prepared before the clock starts.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pydicom


def dicognito() -> Callable[[Path, Path], None]:
    """dicognito has one profile."""
    from dicognito.anonymizer import Anonymizer

    anonymizer = Anonymizer(seed="benchmark")

    def run(source: Path, target: Path) -> None:
        dataset = pydicom.dcmread(source)
        anonymizer.anonymize(dataset)
        dataset.save_as(target)

    return run


def dicom_anonymizer() -> Callable[[Path, Path], None]:
    """dicom-anonymizer with its newest table, and without private attributes."""
    from dicomanonymizer.simpledicomanonymizer import anonymize_dicom_file, initialize_actions

    rules = initialize_actions("dicomfields_2026c")

    def run(source: Path, target: Path) -> None:
        anonymize_dicom_file(str(source), str(target), None, True, lambda: dict(rules))

    return run


def main(tool: str, source: str, target: str) -> None:
    """De-identify every file of a folder and print the seconds that took."""
    warnings.simplefilter("ignore")
    files = sorted(Path(source).iterdir())
    run = {"dicognito": dicognito, "dicom-anonymizer": dicom_anonymizer}[tool]()
    run(files[0], Path(target) / files[0].name)  # imports, caches
    started = time.perf_counter()
    for path in files:
        run(path, Path(target) / path.name)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main(*sys.argv[1:])
