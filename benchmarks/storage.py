"""What headers take in Postgres: blocks beside one JSONB a row, with the same typed columns.

Counted are tables, TOAST and indexes after VACUUM, without what they take while they are empty. Blocks hold more than
the peer does: besides all elements as JSON they have the bytes of the headers. Made here: CT slices of 262 elements; MR
of several echoes with a binary element of 10 KiB in each slice (which the JSON leaves out); radiographs that are each a
series of their own, of three rooms. From `../shared/data/dicom`, where it is there: the few series of several files.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import psycopg2
from pydicom.dataset import FileDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, MRImageStorage

from benchmarks.headers import DAY, make_slice
from benchmarks.run import Row
from sluice.batches import plan_batches
from sluice.database import Database, copy_rows, migrate, select
from sluice.headers.extract import extract
from sluice.headers.reading import read_header
from sluice.headers.source import HeaderError
from sluice.stack.postgres import EmbeddedPostgres
from sluice.windows import Window, remember_window

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "dicom"
INSTANCES = 3_200  # enough that pages that are not full yet hardly count
GOAL = 4.0
OURS = ("instance", "header_block", "header_difference", "header_dictionary", "header_template")
HEADERS_ALONE = """
    select (select sum(pg_column_size(elements) + pg_column_size(content)) from header_block)
           + coalesce((select sum(pg_column_size(elements)) from header_difference), 0)
           + coalesce((select sum(pg_column_size(content)) from header_dictionary), 0)
           + coalesce((select sum(pg_column_size(t.*)) from header_template t), 0) as ours,
           (select sum(pg_column_size(header)) from peer) as peer
"""
MISSING_BY_PEER = ("block_id", "block_position", "pixel_bytes", "pixel_digest")


def run(work: Path) -> list[Row]:
    """Bytes an instance, each kind of series in a database of its own."""
    kinds = [
        ("CT, 262 elements, series of 100", ct_files(), GOAL),
        ("MR, 4 echoes of 40 slices", mr_files(), GOAL),
        ("DX, every image a series", dx_files(), None),
        ("sample files, headers alone", sample_files(), None),
    ]
    rows = []
    with EmbeddedPostgres(work / "postgres", durable=False) as postgres:
        for number, (name, files, goal) in enumerate(kinds):
            archive = work / f"archive{number}"
            archive.mkdir()
            database = _new_database(postgres, f"storage{number}")
            found = _measured(database, archive, files, are_few=number == len(kinds) - 1)
            if found is not None:
                ours, peer = found
                ratio = round(peer / ours, 4)
                holds = goal is None or ratio >= goal
                rows.append(
                    Row(name, round(ours), round(peer), "one JSONB a row", "bytes/instance", ratio, goal, holds)
                )
    return rows


def _new_database(postgres: EmbeddedPostgres, name: str) -> Database:
    admin = psycopg2.connect(postgres.url("postgres"))
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute(f"create database {name}")
    admin.close()
    migrate(postgres.url(name))
    return Database(postgres.url(name))


def _measured(
    database: Database, archive: Path, files: Iterable[bytes], are_few: bool = False
) -> tuple[float, float] | None:
    """Bytes an instance of ours and of the peer; None where there are no files.

    Args:
        are_few: too few to fill pages and indexes, so that only what the headers themselves take is counted.
    """
    headers = _receive(database, archive, files)
    if not headers:
        return None
    (batch,) = plan_batches(database, DAY.isoformat(), len(headers))
    with database.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("create table peer (like instance including all)")
        for name in MISSING_BY_PEER:
            cursor.execute(f"alter table peer drop column {name}")
        cursor.execute("alter table peer add column header jsonb not null")
    ours, peer = _bytes(database, OURS), _bytes(database, ("peer",))
    count = extract(database, archive, batch, workers=0).indexed
    with database.transaction() as connection:
        columns = [
            row["name"]
            for row in select(
                connection,
                "select column_name as name from information_schema.columns where table_name = 'peer' "
                "and column_name <> 'header' order by ordinal_position",
            )
        ]
        rows = select(connection, f"select {', '.join(columns)} from instance")
        values = ([*row.values(), _Json(headers[row["sop_instance_uid"]])] for row in rows)
        copy_rows(connection, "peer", [*columns, "header"], values)
    if are_few:
        with database.transaction() as connection:
            (sizes,) = select(connection, HEADERS_ALONE)
        return float(sizes["ours"]) / count, float(sizes["peer"]) / count
    return (_bytes(database, OURS) - ours) / count, (_bytes(database, ("peer",)) - peer) / count


class _Json(str):
    """JSON text, which COPY takes as it is."""


def _bytes(database: Database, tables: Iterable[str]) -> int:
    connection = database.connect()
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute("vacuum analyze")
            cursor.execute(
                "select sum(pg_total_relation_size(name::regclass)) from unnest(%s) name "
                "where to_regclass(name) is not null",
                (list(tables),),
            )
            return int(cursor.fetchone()[0])
    finally:
        connection.close()


def _receive(database: Database, archive: Path, files: Iterable[bytes]) -> dict[str, str]:
    """Put files into the archive with receipts; their headers as JSON by SOP Instance UID."""
    remember_window(database, Window.of_day(DAY))
    rows, headers = [], {}
    for number, data in enumerate(files):
        path = archive / f"{number:06d}.dcm"
        path.write_bytes(data)
        header = read_header(path)
        uid, study, series, sop_class = (
            str((json.loads((header.text(tag) or "")[11:] or "{}").get("Value") or [number])[0])
            for tag in (0x00080018, 0x0020000D, 0x0020000E, 0x00080016)
        )
        if uid in headers:
            continue
        headers[uid] = header.json
        identity = (uid, series, study, sop_class, "", DAY, "move")
        peer = ("PACS", "SLUICE", "127.0.0.1", "00000000-0000-0000-0000-000000000001", len(data))
        rows.append((*identity, *peer, hashlib.sha256(data).hexdigest(), path.name))
    names = ("sop_instance_uid", "series_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid")
    names += ("study_date", "source", "calling_ae", "called_ae", "peer", "association", "bytes", "sha256", "path")
    with database.transaction() as connection:
        copy_rows(connection, "receipt", names, rows)
    return headers


def _uid(*parts: object) -> str:
    """A UID as long and as random as scanners make them."""
    digest = int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:13])
    return f"1.3.12.2.1107.5.1.4.65123.{digest}"


def _encoded(dataset: FileDataset) -> bytes:
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PixelData = b"1234"
    for name in ("Rows", "Columns"):
        setattr(dataset, name, 1)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def ct_files() -> Iterator[bytes]:
    """Slices of the other benchmark, with UIDs and values that vary as a scanner's do."""
    chance = random.Random(1)
    for index in range(INSTANCES):
        dataset = make_slice(index, b"")
        series = index // 100
        dataset.SOPInstanceUID = _uid("ct", index)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid("ct study", series), _uid("ct series", series)
        dataset.XRayTubeCurrent = str(chance.randint(180, 260))
        dataset.Exposure = str(chance.randint(80, 130))
        dataset.CTDIvol = chance.random() * 10
        dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = 0, chance.randint(1000, 4000)
        yield _encoded(dataset)


def mr_files() -> Iterator[bytes]:
    """Four echoes of forty slices a series, interleaved as they are reconstructed."""
    chance = random.Random(2)
    csa = bytearray(chance.randbytes(2_500) + bytes(5_000) + chance.randbytes(2_500))
    for index in range(INSTANCES):
        series, within = divmod(index, 160)
        slice_number, echo = divmod(within, 4)
        dataset = make_slice(index, b"")
        for keyword in ("KVP", "CTDIvol", "SpiralPitchFactor", "TableSpeed", "Exposure", "XRayTubeCurrent"):
            delattr(dataset, keyword)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
        dataset.Modality = "MR"
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        dataset.SOPInstanceUID = _uid("mr", index)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid("mr study", series), _uid("mr series", series)
        dataset.InstanceNumber = str(within + 1)
        dataset.EchoTime, dataset.EchoNumbers, dataset.RepetitionTime = f"{4.92 * (echo + 1):.2f}", str(echo + 1), "550"
        dataset.SliceLocation = f"{3.3 * slice_number - 61.123456789:.12f}"[:16]
        dataset.ImagePositionPatient = [f"{v:.10f}"[:16] for v in (-112.3, -98.76543, 3.3 * slice_number - 61.12345)]
        dataset.AcquisitionTime = f"{101500 + series}.{(slice_number * 7919) % 1_000_000:06d}"
        dataset.ContentTime = f"{101800 + series}.{chance.randint(0, 999_999):06d}"
        dataset.WindowCenter, dataset.WindowWidth = str(chance.randint(200, 900)), str(chance.randint(400, 1900))
        dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = 0, chance.randint(500, 4000)
        dataset.FlipAngle, dataset.SAR, dataset.MagneticFieldStrength = "25", "0.0832", "1.5"
        for place in range(20):  # the slice's numbers, here and there between those of the protocol
            at = 400 * place
            csa[at : at + 12] = f"{chance.random() * 100:012.8f}".encode()
        dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", bytes(csa))
        yield _encoded(dataset)


def dx_files() -> Iterator[bytes]:
    """Radiographs of three rooms; patient, study and exposure differ in each."""
    chance = random.Random(3)
    parts = ("CHEST", "HAND", "KNEE", "SPINE", "PELVIS", "FOOT")
    for index in range(INSTANCES // 2):
        room = index % 3
        dataset = make_slice(index, b"")
        for keyword in ("SpiralPitchFactor", "TableSpeed", "SliceThickness", "SliceLocation", "ConvolutionKernel"):
            delattr(dataset, keyword)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        dataset.Modality, dataset.BodyPartExamined = "DX", chance.choice(parts)
        dataset.SOPInstanceUID = _uid("dx", index)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = _uid("dx study", index), _uid("dx series", index)
        dataset.FrameOfReferenceUID = _uid("dx frame", index)
        dataset.PatientID, dataset.AccessionNumber = (
            str(chance.randint(10**6, 10**7)),
            f"A{chance.randint(10**7, 10**8)}",
        )
        dataset.PatientName = f"Beispiel{chance.randint(0, 9999)}^Person{chance.randint(0, 9999)}"
        dataset.PatientBirthDate = f"19{chance.randint(20, 99)}0{chance.randint(1, 9)}{chance.randint(10, 28)}"
        dataset.StationName, dataset.DeviceSerialNumber = f"DX{room}", f"4711{room}"
        dataset.ManufacturerModelName = ("DigitalDiagnost", "Ysio", "Definium 8000")[room]
        dataset.ExposureTime, dataset.Exposure = str(chance.randint(2, 400)), str(chance.randint(1, 90))
        dataset.StudyTime = f"{chance.randint(80000, 175959):06d}"
        dataset.ViewPosition = chance.choice(("AP", "PA", "LL"))
        dataset.ImagerPixelSpacing = ["0.148", "0.148"]
        yield _encoded(dataset)


def sample_files() -> Iterator[bytes]:
    """Real files whose series has another one; none where the samples are absent."""
    of_series: dict[str, list[Path]] = {}
    for path in sorted(path for path in SHARED.rglob("*") if path.is_file() and "fuzz" not in path.parts):
        try:
            text = read_header(path).text(0x0020000E)
        except HeaderError:
            continue
        if text and "Value" in text:
            of_series.setdefault(text, []).append(path)
    for paths in of_series.values():
        if len(paths) > 1:
            yield from (path.read_bytes() for path in paths)
