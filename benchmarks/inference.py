"""Films on disk to answers in Postgres, beside what limits it, and beside a plain loop.

The films are made here: real radiographs from ../shared/data (drawn ones where it is absent), enlarged to 12 bits of
2500 x 3072 pixels with the noise of a detector, in each transfer syntax that can be written here. Every file is read
under several UIDs, and has been read before: the disk's own speed is in none of the figures. Sides alternate, medians
of the rounds.

`end to end` is one task as Airflow runs it: decode, canonical image into its shard, body-part network, rows by COPY
into a durable Postgres; network and decoders are started before, as a task does once for 20,000 films.
Its limits are `decode` (the worker processes alone) and `forward` (the network alone, pictures in memory). On a CPU
both use the same cores, so that not even a pipeline without any cost of its own could reach either; `both, same cores`
is what such a one would reach, 1 / (1 / decode + 1 / forward). The plain loop is `dcmread`,
`pixel_array`, resize, and the same network, one picture at a time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.headers import DAY
from benchmarks.run import Row
from sluice.batches import Batch, plan_radiographs
from sluice.database import Database, copy_rows, migrate
from sluice.stack.postgres import EmbeddedPostgres
from sluice.windows import Window, remember_window

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
CR_IMAGE = "1.2.840.10008.5.1.4.1.1.1"
SHAPE = (3072, 2500)
FILES = 6  # of each syntax
ROUNDS = 3
FILMS = {"raw": 1024, "rle": 128, "jpeg-ls": 64, "jpeg-lossless": 48, "jpeg": 256, "j2k": 96}
LOOP_FILMS = {"raw": 12, "rle": 6, "jpeg-ls": 5, "jpeg-lossless": 4, "jpeg": 8, "j2k": 3}
FORWARD = 256  # pictures for the network alone
GOAL_LIMIT = 0.9
GOAL_LOOP = 10.0


def run(work: Path) -> list[Row]:
    """Alternate the sides `ROUNDS` times; medians in images a second."""
    import numpy as np

    from models.body_part import BodyPartReader
    from models.decode_workers import DecodeWorkers
    from models.device import choose

    archive = work / "archive"
    archive.mkdir()
    corpus = write_corpus(archive)
    reader = BodyPartReader.load(device=choose())
    pictures = np.concatenate([decoded(files) for files in corpus.values()])
    pictures = np.concatenate([pictures] * (FORWARD // len(pictures) + 1))[:FORWARD]
    figures: dict[tuple[str, str], list[float]] = {}

    def note(syntax: str, side: str, value: float) -> None:
        figures.setdefault((syntax, side), []).append(value)

    with EmbeddedPostgres(work / "postgres", durable=True) as postgres, DecodeWorkers() as workers:
        plain_loop(reader, corpus["raw"][:2])
        drain(workers, [files[0] for files in corpus.values()] * 2)  # every worker has started and loaded its libraries
        database = Database(postgres.url("sluice"))
        migrate(database.url)
        for number in range(ROUNDS):
            note("", "forward", _rate(lambda: reader.all_logits(pictures), len(pictures)))
            for syntax, files in corpus.items():
                several = (files * (FILMS[syntax] // len(files) + 1))[: FILMS[syntax]]
                note(syntax, "decode", _rate(lambda several=several: drain(workers, several), len(several)))  # type: ignore[misc]
                batch = receive(database, several, f"{number}.{len(syntax)}{ord(syntax[-1])}", number)
                note(syntax, "whole", _whole(reader, database, archive, batch, work / "canonical", workers))
                loop = several[: LOOP_FILMS[syntax]]
                note(syntax, "loop", _rate(lambda loop=loop: plain_loop(reader, loop), len(loop)))  # type: ignore[misc]
            database.execute("delete from prediction")
            everything = plan_radiographs(database, (DAY + timedelta(days=number)).isoformat())
            note("", "shards", _whole(reader, database, archive, everything[0], work / "canonical", workers))
    middle = {key: statistics.median(values) for key, values in figures.items()}
    return rows_of(middle, str(reader.device))


def rows_of(middle: dict[tuple[str, str], float], device: str) -> list[Row]:
    """Each syntax beside its limits and the loop."""
    rows = []
    forward, on_cpu = middle["", "forward"], device == "cpu"
    for syntax in FILMS:
        if (syntax, "whole") not in middle:
            continue
        whole, decode, loop = (middle[syntax, side] for side in ("whole", "decode", "loop"))
        limit, name = min((decode, "decode alone"), (forward, "forward alone"))
        cores = 1 / (1 / decode + 1 / forward)
        rows += [
            _row(f"{syntax}: end to end", whole, limit, name, GOAL_LIMIT),
            *([_row(f"{syntax}: end to end", whole, cores, "both, same cores", GOAL_LIMIT)] if on_cpu else []),
            _row(f"{syntax}: end to end", whole, loop, "plain loop", GOAL_LOOP),
            _row(f"{syntax}: decode alone", decode, forward, "forward alone", None),
        ]
    shards = middle["", "shards"]
    rows.append(_row(f"from the shards to rows, {device}", shards, forward, "forward alone", GOAL_LIMIT))
    rows.append(Row(f"an image, {device}", 1000 / shards, 1000 / forward, "forward alone", "ms", 1.0, None, True))
    return rows


def _row(name: str, ours: float, peer: float, peer_name: str, goal: float | None) -> Row:
    ratio = ours / peer
    holds = goal is None or ratio >= goal
    return Row(name, round(ours, 1), round(peer, 1), peer_name, "images/s", round(ratio, 3), goal, holds)


def _rate(work: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def _whole(reader: Any, database: Database, archive: Path, batch: Batch, root: Path, workers: Any) -> float:
    from operators.inference import read_with

    started = time.perf_counter()
    summary = read_with(reader, database, archive, batch, "body_part", root, workers=workers)
    seconds = time.perf_counter() - started
    if summary.read != batch.count or summary.unreadable:
        raise RuntimeError(f"Only {summary.read} of {batch.count} films were read: the benchmark means nothing.")
    return batch.count / seconds


def drain(workers: Any, files: Sequence[Path]) -> None:
    """The decoders alone."""
    for _ in workers.canonical(files):
        pass


def decoded(files: Sequence[Path]) -> Any:
    """Canonical images, uint8 `(n, 512, 512)`."""
    import numpy as np

    from models.preprocess import canonical

    return np.stack([canonical(path).image for path in files])


def plain_loop(reader: Any, files: Sequence[Path]) -> None:
    """A peer: what a script does."""
    import numpy as np
    import torch
    from PIL import Image
    from pydicom import dcmread

    from models.networks import standardise

    network = plain_network(reader)
    side = int(reader.settings["side"])
    with torch.no_grad():
        for path in files:
            values = dcmread(path).pixel_array.astype(np.float32)
            grey = (values - values.min()) / (values.max() - values.min()) * 255
            image = Image.fromarray(grey.astype(np.uint8)).resize((side, side), Image.Resampling.BILINEAR)
            pixels = torch.from_numpy(np.array(image, np.float32))[None, None].to(reader.device) / 255
            network(standardise(pixels))["router5"].argmax().item()


def plain_network(reader: Any) -> Any:
    """The same weights as they were trained, loaded once."""
    from models.networks import BodyPartNetwork
    from models.weights_files import SHIPPED, load_weights

    if "plain" not in _LOADED:
        network = BodyPartNetwork(reader.architecture)
        load_weights(SHIPPED / "body_part.pt").put_into(network)
        _LOADED["plain"] = network.eval().to(reader.device)
    return _LOADED["plain"]


_LOADED: dict[str, Any] = {}


def receive(database: Database, files: Sequence[Path], salt: str, number: int) -> Batch:
    """A received and indexed film for each file, under a UID of its own."""
    day = DAY + timedelta(days=number)
    remember_window(database, Window.of_day(day))
    uids = [f"2.25.{salt}.{index}" for index in range(len(files))]
    study = f"2.25.{salt}"
    receipt = ("sop_instance_uid", "series_instance_uid", "study_instance_uid", "sop_class_uid", "transfer_syntax_uid")
    receipt += ("study_date", "source", "calling_ae", "called_ae", "peer", "association", "bytes", "sha256", "path")
    same = (f"{study}.0", study, CR_IMAGE, "1", day, "move", "PACS", "SLUICE", "127.0.0.1")
    tail = ("00000000-0000-0000-0000-000000000001", 1, "0" * 64)
    with database.transaction() as connection:
        copy_rows(connection, "study", ("study_instance_uid",), [(study,)])
        series = ("series_instance_uid", "study_instance_uid", "modality")
        copy_rows(connection, "series", series, [(f"{study}.0", study, "CR")])
        copy_rows(
            connection,
            "receipt",
            receipt,
            [(uid, *same, *tail, path.name) for uid, path in zip(uids, files, strict=True)],
        )
        copy_rows(
            connection,
            "instance",
            (*receipt[:5], "patient_age_years"),
            [(uid, *same[:4], 56.0) for uid in uids],
        )
        with connection.cursor() as cursor:
            cursor.execute(
                "select min(receipt_id), max(receipt_id) from receipt where study_instance_uid = %s", (study,)
            )
            first, last = cursor.fetchone() or (0, 0)
    return Batch(day.isoformat(), first, last, len(files))


def write_corpus(folder: Path) -> dict[str, list[Path]]:
    """Films in each transfer syntax that can be written here."""
    from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

    corpus: dict[str, list[Path]] = {syntax: [] for syntax in FILMS}
    for index, grey in enumerate(_pictures(FILES)):
        dataset = _film(grey)
        corpus["raw"].append(_saved(dataset, folder / f"raw-{index}.dcm"))
        for name, syntax in (("rle", RLELossless), ("jpeg-ls", JPEGLSLossless), ("j2k", JPEG2000Lossless)):
            packed = _film(grey)
            packed.compress(syntax, generate_instance_uid=False)
            corpus[name].append(_saved(packed, folder / f"{name}-{index}.dcm"))
        plain = _saved(_film(grey >> 4, 8), folder / f"plain8-{index}.dcm")
        for name, source in (("jpeg-lossless", corpus["raw"][-1]), ("jpeg", plain)):
            path = folder / f"{name}-{index}.dcm"
            if _by_gdcm(source, path, name):
                corpus[name].append(path)
    return {syntax: files for syntax, files in corpus.items() if files}


def _pictures(count: int) -> Iterator[Any]:
    """12-bit grey values of `SHAPE`: enlarged radiographs and noise."""
    import cv2
    import numpy as np

    generator = np.random.default_rng(20261126)
    sources = sorted(SHARED.glob("radiographs/nih/**/*.[jp][pn]g")) if SHARED.is_dir() else []
    for index in range(count):
        if sources:
            small = cv2.imread(str(sources[index * len(sources) // count]), cv2.IMREAD_GRAYSCALE)
        else:
            y, x = np.mgrid[-1:1:512j, -1:1:512j]
            small = (np.clip(1.1 - x**2 / (0.6 + index / 40) - y**2 / 0.9, 0, 1) * 220).astype(np.uint8)
        large = cv2.resize(small, SHAPE[::-1], interpolation=cv2.INTER_CUBIC).astype(np.float32) * 14 + 200
        yield np.clip(large + generator.normal(0, 8, SHAPE), 0, 4095).astype(np.uint16)


def _film(grey: Any, bits: int = 12) -> Any:
    import numpy as np
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CR_IMAGE, "2.25.1"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, b"\0" * 128, meta)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = CR_IMAGE, "2.25.1", "CR"
    dataset.Rows, dataset.Columns = grey.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16 if bits > 8 else 8, bits, bits - 1
    dataset.PixelRepresentation = 0
    dataset.PixelData = (grey if bits > 8 else grey.astype(np.uint8)).tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def _saved(dataset: Any, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def _by_gdcm(source: Path, target: Path, name: str) -> bool:
    try:
        import gdcm
    except ImportError:
        return False
    syntaxes = {
        "jpeg-lossless": gdcm.TransferSyntax.JPEGLosslessProcess14_1,
        "jpeg": gdcm.TransferSyntax.JPEGBaselineProcess1,
    }
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    if not reader.Read():
        return False
    change.SetTransferSyntax(gdcm.TransferSyntax(syntaxes[name]))
    change.SetInput(reader.GetImage())
    if not change.Change():
        return False
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    return bool(writer.Write())
