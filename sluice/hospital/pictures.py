"""Radiographs that the hospital draws itself where no real one is at hand, and the sheet that shows them.

python -m sluice.hospital.pictures OUT.png
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sluice.hospital import limbs, spine, trunk
from sluice.hospital.ink import Canvas, Field

Picture = npt.NDArray[np.uint16]
BITS = 12

# region key -> (drawing, rows / columns)
DRAWINGS: dict[str, tuple[Callable[[Canvas, np.random.Generator], None], float]] = {
    "CHEST": (trunk.chest, 1.0),
    "ABDOMEN": (trunk.abdomen, 1.22),
    "LSPINE": (spine.lumbar_spine, 1.6),
    "TSPINE": (spine.thoracic_spine, 1.6),
    "CSPINE": (spine.cervical_spine, 1.25),
    "PELVIS": (trunk.pelvis, 0.82),
    "SKULL": (limbs.skull, 0.9),
    "SHOULDER": (limbs.shoulder, 0.95),
    "HAND": (limbs.hand, 1.3),
    "KNEE": (limbs.knee, 1.35),
    "FOOT": (limbs.foot, 1.5),
}


def radiograph(
    region: str, seed: int, edge: int, child: bool = False, ivc_filter: bool = False, laterality: str | None = None
) -> Picture:
    """Draw one radiograph.

    Returns:
        rows × columns of 12-bit values, bones bright (MONOCHROME2), the long edge `edge` pixels.
    """
    draw, ratio = DRAWINGS[region]
    if region == "CHEST" and child:
        draw, ratio = trunk.child_chest, 0.95
    chance = np.random.default_rng(seed)
    rows, columns = (edge, round(edge / ratio)) if ratio >= 1 else (round(edge * ratio), edge)
    canvas = Canvas(rows, columns)
    draw(canvas, chance)
    if ivc_filter:
        spine.ivc_filter(canvas, chance)
    picture = _exposed(canvas.field, chance)
    if laterality == "L":
        picture = picture[:, ::-1]
    return _marked(picture, "L" if laterality == "L" else "R")


def _exposed(field: Field, chance: np.random.Generator) -> Picture:
    """The detector's signal as a radiograph shows it: logarithmic, noisy where few photons came, collimated."""
    rough = field[::4, ::4]
    scatter = np.kron(_blurred(rough, max(rough.shape) // 18), np.ones((4, 4), np.float32))
    scatter = scatter[: field.shape[0], : field.shape[1]]
    signal = np.exp(-1.15 * (0.9 * field + 0.1 * scatter))
    photons = chance.poisson(np.clip(signal, 1e-4, None) * 2_600.0).astype(np.float32)
    photons[1:-1, 1:-1] = 0.4 * photons[1:-1, 1:-1] + 0.15 * (
        photons[:-2, 1:-1] + photons[2:, 1:-1] + photons[1:-1, :-2] + photons[1:-1, 2:]
    )
    film = -np.log(np.clip(photons, 1.0, None) / 2_600.0)
    low, high = np.percentile(film, (1.0, 99.7))
    picture = np.clip((film - low) / max(high - low, 1e-3), 0.0, 1.0) ** 0.9
    top, left = (round(edge * chance.uniform(0.012, 0.03)) for edge in field.shape)
    picture[:top], picture[-top:], picture[:, :left], picture[:, -left:] = 0, 0, 0, 0
    return np.asarray(picture * ((1 << BITS) - 96) + 24, np.uint16)


def _blurred(field: Field, radius: int) -> Field:
    """Two box blurs along each axis: smooth enough for scatter and for a detector's spread."""
    result = field
    width = 2 * radius + 1
    for axis in (0, 0, 1, 1):
        turned = np.moveaxis(result, axis, 0)
        padded = np.pad(turned, ((radius + 1, radius), (0, 0)), mode="edge")
        total = np.cumsum(padded, axis=0, dtype=np.float64)
        result = np.moveaxis(((total[width:] - total[:-width]) / width).astype(np.float32), 0, axis)
    return result


def _marked(picture: Picture, letter: str) -> Picture:
    """The lead side marker that every technologist lays on the cassette."""
    from PIL import Image, ImageDraw, ImageFont

    rows, columns = picture.shape
    size = max(rows, columns) // 18
    stamp = Image.new("L", (columns, rows))
    place = (round(columns * 0.05), round(rows * 0.05)) if letter == "R" else (round(columns * 0.9), round(rows * 0.05))
    ImageDraw.Draw(stamp).text(place, letter, fill=255, font=ImageFont.load_default(size))
    result = picture.copy()
    result[np.asarray(stamp) > 96] = (1 << BITS) - 24
    return result


SHEET: tuple[tuple[str, str, bool, bool], ...] = (
    ("Chest, adult", "CHEST", False, False),
    ("Chest, child", "CHEST", True, False),
    ("Abdomen", "ABDOMEN", False, False),
    ("Abdomen, IVC filter", "ABDOMEN", False, True),
    ("Lumbar spine", "LSPINE", False, False),
    ("Cervical spine, lateral", "CSPINE", False, False),
    ("Pelvis", "PELVIS", False, False),
    ("Skull, lateral", "SKULL", False, False),
    ("Shoulder", "SHOULDER", False, False),
    ("Hand", "HAND", False, False),
    ("Knee", "KNEE", False, False),
    ("Foot", "FOOT", False, False),
)


def sheet(path: Path, seed: int = 7, cell: int = 300, columns: int = 6) -> None:
    """Write a contact sheet of the drawings, each with its name below."""
    from PIL import Image, ImageDraw, ImageFont

    rows = -(-len(SHEET) // columns)
    step = cell + 30
    paper = Image.new("L", (columns * (cell + 12) + 12, rows * (step + 6) + 6), 18)
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(17)
    for place, (name, region, child, ivc_filter) in enumerate(SHEET):
        picture = radiograph(region, seed + place, cell * 2, child, ivc_filter)
        image = Image.fromarray((picture >> (BITS - 8)).astype(np.uint8))
        image.thumbnail((cell, cell), Image.Resampling.LANCZOS)
        left = 12 + place % columns * (cell + 12)
        top = 6 + place // columns * (step + 6)
        paper.paste(image, (left + (cell - image.width) // 2, top + (cell - image.height) // 2))
        pen.text((left + cell / 2, top + cell + 4), name, fill=235, anchor="ma", font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    paper.save(path)


def main(arguments: list[str]) -> int:
    """Command line: write the contact sheet to the given path."""
    if len(arguments) != 1:
        print("usage: python -m sluice.hospital.pictures OUT.png", file=sys.stderr)
        return 2
    sheet(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
