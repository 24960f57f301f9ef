"""Text burned into pixels: how fast it is looked for and how much of it is found, beside plain `rapidocr`.

Both look at the same films with the same networks and one thread. Plain is `RapidOCR()` on the whole frame as 8 bit, as
its documentation shows it; ours is `sluice.deid.pixels.reader`. Three things are measured on real radiographs:

- *speed* on frames of 2,000 pixels;
- *recall*: names, dates and numbers written into films at random places, 8 to 60 pixels high, light or dark by what is
  behind them, some noisy, one in five turned by 90 degrees. Found is what at least half of its area is boxed of. What
  differs from its background by less than 8 % of the range nobody could read, and is not written;
- *precision*: the films as they are. Which of them hold text was not labelled by a person: the figure is how many would
  be held or masked, so it is an upper bound of false ones.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.run import HERE, Row
from sluice.deid.pixels import reader
from sluice.deid.pixels.rectangle import Rectangle
from sluice.deid.pixels.screening import is_marker

SHARED = HERE.parents[1] / "shared" / "data" / "radiographs"
SOURCES = ("unifesp", "hannover", "nih", "kermany", "shoulder", "cadma")
SPEED_FILMS, RECALL_FILMS, PLAIN_RECALL_FILMS, REAL_FILMS = 6, 220, 24, 180
SIDES, HEIGHTS = (512, 1024, 2000), (8, 60)
TEXTS = (
    "DOE^JANE", "MUELLER, HANS", "1961-03-04", "MRN 4711002", "Acc 99817263", "Dr. Kowalski", "12.10.1958 M",
    "Smith John 45Y", "GARCIA LOPEZ M", "ID: 00348812", "26.10.2026 08:15", "St. Nimmerlein",
)  # fmt: skip
FONTS = Path("/usr/share/fonts/truetype/dejavu")
GOAL = 4.0  # times the frames of plain rapidocr in the same time
Picture = NDArray[np.float32]
Read = Callable[[Picture], list[Rectangle]]


@dataclass(frozen=True)
class Planted:
    """A film with text written into it, 12 bits, and where."""

    picture: Picture
    box: Rectangle
    kind: str


def run(work: Path) -> list[Row]:
    """Rows of the benchmark; what they rest on is printed."""
    films = [path for source in SOURCES for path in sorted((SHARED / source).glob("*"))]
    if not films:
        print(f"no films in {SHARED}: nothing is measured", file=sys.stderr)
        return []
    rows = [_speed(films), _recall(films)]
    _precision(films)
    return rows


def _ours(picture: Picture) -> list[Rectangle]:
    return [reading.box for reading in reader.read(picture)]


def _plain() -> Read:
    from rapidocr import RapidOCR

    engine = RapidOCR(params={"Global.log_level": "critical", "EngineConfig.onnxruntime.intra_op_num_threads": 1})

    def read(picture: Picture) -> list[Rectangle]:
        grey = (picture / max(float(picture.max()), 1.0) * 255).astype(np.uint8)
        found: Any = engine(np.stack([grey] * 3, axis=-1))
        boxes = [] if found.boxes is None else found.boxes
        return [
            Rectangle(int(left), int(top), int(right - left) + 1, int(bottom - top) + 1)
            for (left, top), (right, bottom) in ((box.min(axis=0), box.max(axis=0)) for box in boxes)
        ]

    return read


def _speed(films: Sequence[Path]) -> Row:
    chosen = random.Random(5).sample(films, SPEED_FILMS)
    pictures = [_film(path, 2000) for path in chosen]
    plain = _plain()
    ours_s, plain_s = [], []
    for picture in [pictures[0], *pictures]:  # the first warms up
        started = time.process_time()
        _ours(picture)
        ours_s.append(time.process_time() - started)
        started = time.process_time()
        plain(picture)
        plain_s.append(time.process_time() - started)
    ours, peer = (1 / statistics.median(seconds[1:]) for seconds in (ours_s, plain_s))
    return Row(
        "frames of 2,000 pixels",
        ours,
        peer,
        "rapidocr, whole frame",
        "1/s of a core",
        ours / peer,
        GOAL,
        ours / peer >= GOAL,
    )


def _recall(films: Sequence[Path]) -> Row:
    """Shares on the films that both look at, the first of those that ours looks at."""
    ours = _found(_ours, films, RECALL_FILMS, "ours")[:PLAIN_RECALL_FILMS]
    plain = _found(_plain(), films, PLAIN_RECALL_FILMS, "plain rapidocr")
    shares = sum(ours) / len(ours), sum(plain) / len(plain)
    ratio = shares[0] / shares[1] if shares[1] else float("inf")
    return Row("text found, share", *shares, "rapidocr, whole frame", "of 1", ratio, 1.0, ratio >= 1.0)


def _found(read: Read, films: Sequence[Path], number: int, name: str) -> list[bool]:
    """Of each planted text, whether it was found."""
    kinds: dict[str, list[bool]] = {"all": []}
    for seed in range(number):
        planted = plant(films, seed)
        hit = covered(planted.box, read(planted.picture)) >= 0.5
        for kind in ("all", *planted.kind.split()):
            kinds.setdefault(kind, []).append(hit)
    for kind, hits in sorted(kinds.items()):
        print(f"  {name}: {kind}: {sum(hits)} of {len(hits)}")
    return kinds["all"]


def _precision(films: Sequence[Path]) -> None:
    print("  films as they are: source, films, with markers only, held or masked")
    for source, paths in _by_source(films):
        chosen = random.Random(11).sample(paths, min(len(paths), REAL_FILMS // len(SOURCES)))
        markers = held = 0
        for path in chosen:
            texts = [reading.text for reading in reader.read(np.asarray(Image.open(path).convert("L"), np.float32))]
            if any(not is_marker(text) for text in texts):
                held += 1
            elif texts:
                markers += 1
        print(f"  {source}: {len(chosen)}, {markers}, {held}")


def _by_source(films: Sequence[Path]) -> Iterator[tuple[str, list[Path]]]:
    for source in SOURCES:
        yield source, [path for path in films if path.parent.name == source]


def _film(path: Path, side: int) -> Picture:
    """A film of 12 bits whose longer side is so many pixels."""
    film = Image.open(path).convert("L")
    scale = side / max(film.size)
    resized = film.resize((round(film.width * scale), round(film.height * scale)), Image.Resampling.LANCZOS)
    return np.asarray(resized, np.float32) * np.float32(4095 / 255)


def plant(films: Sequence[Path], seed: int) -> Planted:
    """A film with one text."""
    chosen = random.Random(seed)
    side = chosen.choice(SIDES)
    picture = _film(chosen.choice(films), side)
    height = round(max(HEIGHTS[0], side * chosen.uniform(0.011, 0.03)))
    text, turned = chosen.choice(TEXTS), chosen.random() < 0.2
    share = _written(text, height, chosen.choice(("DejaVuSans", "DejaVuSansMono", "DejaVuSans-Bold")), turned)
    rows, columns = share.shape
    if rows >= picture.shape[0] or columns >= picture.shape[1]:
        return plant(films, seed + 100_000)
    box = Rectangle(
        chosen.randint(0, picture.shape[1] - columns), chosen.randint(0, picture.shape[0] - rows), columns, rows
    )
    region = picture[box.top : box.bottom, box.left : box.right]
    value = 4095.0 if float(region.mean()) < 2600 else 0.0
    if abs(value - float(np.median(region))) < 0.08 * 4095:
        return plant(films, seed + 100_000)
    region[:] = region * (1 - share) + value * share
    noisy = chosen.random() < 0.3
    if noisy:
        picture += np.random.default_rng(seed).normal(0, 120, picture.shape).astype(np.float32)
    kind = (
        f"{'light' if value else 'dark'} {side}px {'turned' if turned else 'level'} {'noisy' if noisy else 'calm'} "
        f"{'small' if height < 12 else 'large'}"
    )
    return Planted(np.clip(picture, 0, 4095), box, kind)


def _written(text: str, height: int, font: str, turned: bool) -> Picture:
    path = FONTS / f"{font}.ttf"
    face = ImageFont.truetype(str(path), height) if path.is_file() else ImageFont.load_default(height)
    width, bottom = (int(edge) + 2 for edge in face.getbbox(text)[2:])
    stamp = Image.new("L", (width, bottom))
    ImageDraw.Draw(stamp).text((0, 0), text, font=face, fill=255)
    return np.asarray(stamp.rotate(90, expand=True) if turned else stamp, np.float32) / 255


def covered(box: Rectangle, found: Sequence[Rectangle]) -> float:
    """Share of a box's area that others cover."""
    inside = np.zeros((box.height, box.width), bool)
    for one in found:
        inside[
            max(one.top - box.top, 0) : max(one.bottom - box.top, 0),
            max(one.left - box.left, 0) : max(one.right - box.left, 0),
        ] = True
    return float(inside.mean())
