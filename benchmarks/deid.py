"""De-identification beside two Python libraries and gdcmanon: the same CT files, one core, each at its fullest profile.

Every side reads the files from one folder and writes to another; what it can prepare once it prepares before the
clock starts, but for gdcmanon, whose process is started once for the whole folder. dicognito and dicom-anonymizer
are installed into a virtual environment of the benchmark (pip's configured index); where that fails their rows are
missing. What each of them leaves in a file is another matter: see docs/deidentification.md and tests/deid.
The last rows say where our time goes, and what the independent re-read of a header costs beside its limit.
"""

from __future__ import annotations

import io
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from benchmarks.run import Row
from sluice.deid import gate
from sluice.deid.elements import read_file, write_file
from sluice.deid.engine import deidentify
from sluice.deid.identities import Identities
from sluice.deid.leak_check import Claims, findings
from sluice.deid.profile import OPTIONS, Profile

FILES = 60
ROUNDS = 3
GOAL = 2.0
HEADER_LIMIT_MS = 5.0
PEERS = ("dicognito", "dicom-anonymizer")
PACKAGES = ("dicognito==0.19.0", "dicom-anonymizer==2.1.0")
LIBRARY = "best Python library"
NOT_ALL = ("retain_uids", "retain_longitudinal_full_dates")  # keep what the others would have to change
FULLEST = Profile("fullest", tuple(option for option in OPTIONS if option not in NOT_ALL))
IDENTITIES = Identities(bytes(range(32)), "BEN")
REAL = Path(get_testdata_file("CT_small.dcm"))  # 39 KB, of a real scanner, with private elements


def run(work: Path) -> list[Row]:
    """Alternate the sides `ROUNDS` times; medians in files a second."""
    peers = _peers(work)
    rows: list[Row] = []
    for name, factor in (("39 KB", 1), ("531 KB", 16)):
        source = work / f"source-{factor}"
        source.mkdir()
        _write_files(source, factor)
        figures: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for side, measure in {"ours": _ours, **peers}.items():
                target = work / "target"
                target.mkdir()
                figures.setdefault(side, []).append(FILES / measure(source, target))
                shutil.rmtree(target)
        middle = {side: statistics.median(values) for side, values in figures.items()}
        rows += _rows(name, middle)
        rows += _parts(name, [path.read_bytes() for path in sorted(source.iterdir())])
    return rows


def _rows(name: str, middle: dict[str, float]) -> list[Row]:
    ours = middle.pop("ours")
    rows = []
    libraries = [middle[peer] for peer in PEERS if peer in middle]
    if libraries:
        best = max(libraries)
        rows.append(_row(f"CT of {name}", ours, best, LIBRARY, GOAL))
    return rows + [_row(f"CT of {name}", ours, rate, peer, None) for peer, rate in middle.items()]


def _row(name: str, ours: float, peer: float, beside: str, goal: float | None) -> Row:
    ratio = ours / peer
    return Row(
        name, round(ours, 1), round(peer, 1), beside, "files/s", round(ratio, 3), goal, not goal or ratio >= goal
    )


def _write_files(folder: Path, factor: int) -> None:
    """Slices that differ in their UID, with the pixels of the real one `factor` times."""
    dataset = pydicom.dcmread(REAL)
    rows = dataset.Rows
    dataset.PixelData = dataset.PixelData * factor
    dataset.Rows = dataset.Columns = int(rows * factor**0.5)
    for number in range(FILES):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
        dataset.save_as(folder / f"{number:04d}.dcm")


def _ours(source: Path, target: Path) -> float:
    files = sorted(source.iterdir())
    deidentify(files[0].read_bytes(), FULLEST, IDENTITIES)
    started = time.perf_counter()
    for path in files:
        (target / path.name).write_bytes(deidentify(path.read_bytes(), FULLEST, IDENTITIES).data)
    return time.perf_counter() - started


def _peers(work: Path) -> dict[str, Callable[[Path, Path], float]]:
    found: dict[str, Callable[[Path, Path], float]] = {}
    python = _peer_python(work / "peers")
    if python is not None:
        for tool in PEERS:
            found[tool] = lambda source, target, tool=tool: _seconds_of_library(python, tool, source, target)
    if shutil.which("gdcmanon") and shutil.which("openssl"):
        certificate = _certificate(work)
        found["gdcmanon -e"] = lambda source, target: _seconds_of_gdcmanon(certificate, source, target)
    return found


def _peer_python(folder: Path) -> Path | None:
    """Python of a new environment with the peers, None where they cannot be had."""
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, capture_output=True)
        python = folder / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
        subprocess.run(install, check=True, capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as error:
        print(f"The Python libraries cannot be installed ({error}): their rows are missing.", file=sys.stderr)
        return None
    return python


def _seconds_of_library(python: Path, tool: str, source: Path, target: Path) -> float:
    script = Path(__file__).with_name("_deid_peers.py")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [python, script, tool, source, target], check=True, capture_output=True, text=True, env=environment
    )
    return float(done.stdout.split()[-1])


def _certificate(work: Path) -> Path:
    certificate = work / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=benchmark"]
    command += ["-keyout", str(work / "key.pem"), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate


def _seconds_of_gdcmanon(certificate: Path, source: Path, target: Path) -> float:
    started = time.perf_counter()
    command = ["gdcmanon", "-e", "-r", "-c", certificate, "-i", source, "-o", target]
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - started
    if len(list(target.rglob("*.dcm"))) != FILES:
        raise RuntimeError("gdcmanon did not write every file: the benchmark means nothing.")
    return seconds


def _parts(name: str, files: list[bytes]) -> list[Row]:
    """Milliseconds a file of the whole and of its parts, and of the re-read of a header beside its limit."""
    read = [read_file(data) for data in files]
    written = [deidentify(data, FULLEST, IDENTITIES) for data in files]
    parsed = [read_file(one.data) for one in written]
    whole = _ms(lambda data: deidentify(data, FULLEST, IDENTITIES), files)
    parts = {
        "read": _ms(read_file, files),
        "pixels": _ms(gate.clean_pixels, read),
        "write": _ms(lambda file: write_file({}, file.elements), parsed),
    }
    parts["rules, identities, text"] = max(whole - sum(parts.values()), 0.0)
    rows = [
        Row(f"{name}: {part}", round(ms, 3), round(whole, 3), "the whole", "ms/file", ms / whole, None, True)
        for part, ms in parts.items()
    ]
    pairs = [(_header(data), _header(one.data), one) for data, one in zip(files, written, strict=True)]
    check = _ms(
        lambda pair: findings(pair[0], pair[1], Claims(pair[2].shift_days, tuple(code for code, _ in pair[2].codes))),
        pairs,
    )
    ratio = HEADER_LIMIT_MS / check
    return [
        *rows,
        Row(
            f"{name}: re-read, header", round(check, 2), HEADER_LIMIT_MS, "its limit", "ms/file", ratio, 1.0, ratio >= 1
        ),
    ]


def _ms(work: Callable[..., object], things: list) -> float:  # type: ignore[type-arg]
    started = time.process_time()
    for thing in things:
        work(thing)
    return (time.process_time() - started) / len(things) * 1000


def _header(data: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()
