"""Training films in one file, for a machine with a GPU that does not see the data folder.

`python -m models.pack --data ../shared/data --out var/films.zip` writes the canonical images of training and validation
films and of renderings from CT, with their labels; both trainings read it anywhere (`--bundle`). No test film is in
it. Groups are digests of patients, so that a split by patient stays possible.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.data import CACHE_SIDE, DataMissing, Film, films, images_of, rendered_films, shrink
from models.framing import SIZE

log = logging.getLogger("models.pack")
INDEX = "films.json"
QUALITY = 90


def training_films(
    data: Path, renderings: int, seed: int, cache: Path, side: int = CACHE_SIDE
) -> tuple[list[Film], NDArray[np.uint8]]:
    """Training and validation films and renderings, with their canonical images `(n, side, side)`.

    Groups are digests of patients, so that parts of them are the same with and without a packed file.
    """
    selection = [film for film in films(data) if film.split in ("train", "validation")]
    selection = [replace(film, group=hashlib.sha256(film.group.encode()).hexdigest()[:16]) for film in selection]
    rendered, pictures = rendered_films(data, renderings, seed, cache, side)
    return selection + rendered, np.concatenate([images_of(selection, cache, side), pictures])


def pack(selection: list[Film], images: NDArray[np.uint8], out: Path) -> None:
    """Write films and images into one file.

    Raises:
        ValueError: a test film is among them.
    """
    rows = []
    partial = out.with_suffix(".part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        for number, (film, image) in enumerate(zip(selection, images, strict=True)):
            if film.split not in ("train", "validation"):
                raise ValueError(f"a film of the {film.split} split would leave with the training films")
            encoded = io.BytesIO()
            Image.fromarray(image).save(encoded, "WEBP", quality=QUALITY)
            archive.writestr(f"{number:05d}.webp", encoded.getvalue())
            rows.append(asdict(film) | {"path": film.path and film.path.name})
        archive.writestr(INDEX, json.dumps(rows))
    partial.rename(out)


def unpack(bundle: Path, side: int = CACHE_SIDE) -> tuple[list[Film], NDArray[np.uint8]]:
    """Films and images `(n, side, side)` of a file that `pack` wrote.

    Raises:
        DataMissing: the file is not there or was not written by `pack`.
    """
    try:
        with zipfile.ZipFile(bundle) as archive:
            rows = json.loads(archive.read(INDEX))
            encoded = [archive.read(f"{number:05d}.webp") for number in range(len(rows))]
    except (FileNotFoundError, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise DataMissing(
            f"{bundle} holds no films ({type(error).__name__}): write it by python -m models.pack"
        ) from None
    with ThreadPoolExecutor() as pool:
        images = np.stack(list(pool.map(lambda one: shrink(_image(one), side), encoded)))
    return [_film(row) for row in rows], images


def _image(encoded: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(encoded)) as picture:
        return np.asarray(picture.convert("L"))


def _film(row: dict[str, Any]) -> Film:
    path = None if row["path"] is None else Path(row["path"])
    visible = None if row["visible"] is None else tuple(row["visible"])
    return Film(**(row | {"path": path, "visible": visible}))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Pack the training films into one file.")
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv")
    parser.add_argument("--out", type=Path, default=Path("var/films.zip"))
    parser.add_argument("--cache", type=Path, default=Path("var/models"))
    parser.add_argument("--renderings", type=int, default=96, help="renderings of each kind from CT")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    selection, images = training_films(arguments.data, arguments.renderings, arguments.seed, arguments.cache, SIZE)
    pack(selection, images, arguments.out)
    log.info("%d films, %.1f MB in %s", len(selection), arguments.out.stat().st_size / 1e6, arguments.out)


if __name__ == "__main__":
    main()
