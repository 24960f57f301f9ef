"""Try a folder of device rules: what is wrong with them, and what each would do to files of that device.

Nothing that is said here identifies a patient: files go by their number, not by their names, which often are a
patient's; of their headers only what rules ask for is shown. A preview shows a picture as it would leave.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sluice.deid import gate
from sluice.deid.elements import PIXEL_DATA, File, MalformedError, read_file
from sluice.deid.held import Held
from sluice.deid.pixels.devices import (
    NUMBERS,
    SHIPPED,
    TEXTS,
    DeviceRule,
    DeviceRuleError,
    lines_of,
    masks_of,
    tables_of,
)
from sluice.deid.pixels.image import frames_of
from sluice.deid.pixels.rectangle import Rectangle
from sluice.deid.pixels.screening import screen_file
from sluice.deid.profile import sop_classes

EDGE = np.array((255, 64, 64), np.uint8)  # around what is blanked
DARKEST, BRIGHTEST = 0.5, 99.8  # percentiles that become black and white


@dataclass(frozen=True)
class Placed:
    """A rule and where it stands: `us.csv, line 3`."""

    place: str
    rule: DeviceRule


@dataclass(frozen=True)
class Tried:
    """What happens to the pixels of one file.

    Attributes:
        device: SOP class, modality, manufacturer, model, software, size and Image Type, as a rule has to name them.
        rule: the one that it meets; None where none fits.
        masks: what is blanked, None where the file is held.
        said: in a sentence.
        missed: places outside the masks where text was read; None where nobody looked.
    """

    device: str
    rule: Placed | None
    masks: tuple[Rectangle, ...] | None
    said: str
    missed: int | None = None


def read_rules(folder: Path) -> tuple[list[Placed], list[str]]:
    """The rules in the order in which they are asked, those that ship behind the folder's, and every fault of them.

    A rule behind one that fits the same or more never decides, which is a fault, too.

    Raises:
        DeviceRuleError: there is no such folder.
    """
    placed: list[Placed] = []
    faults: list[str] = []
    for path in tables_of(folder):
        for place, read in lines_of(path.name, path.read_bytes()):
            if isinstance(read, DeviceRuleError):
                faults.append(str(read))
                continue
            before = next((one for one in placed if set(one.rule.fits) <= set(read.fits)), None)
            if before is not None and path != SHIPPED:
                faults.append(
                    f"{place}: the rule {read.rule!r} never decides: {before.rule.rule!r} ({before.place}) fits all "
                    "that it fits, and is asked first. Put it above, or take one out."
                )
            placed.append(Placed(place, read))
    return placed, faults


def try_file(data: bytes, rules: Sequence[Placed], looks: bool = False) -> Tried:
    """Which rule a file meets, and what it does.

    Args:
        looks: read the text in its pixels as a release would, which takes a second or more.

    Raises:
        Held: it cannot be read.
    """
    file = _file(data)
    met = next((one for one in rules if one.rule.matches(file.elements)), None)
    masks, said = _decided(file, met)
    missed = None
    if looks and masks is not None:
        screened = screen_file(data)
        if screened.failed is not None:
            raise Held("held-unreadable", screened.failed)
        texts = [one.box for one in screened.found if not one.is_marker]
        missed = sum(not any(mask.covers(box) for mask in masks) for box in texts)
    return Tried(_device(file), met, masks, said, missed)


def preview(data: bytes, masks: Sequence[Rectangle]) -> bytes:
    """A PNG of the first frame with the masks blanked and framed; it shows whatever the rule leaves.

    Raises:
        Held: it has no pixels that can be read.
    """
    import cv2

    file = _file(data)
    picture = _eight_bits(frames_of(file, [0])[0], gate.text(file.elements.get(gate.PHOTOMETRIC)))
    rows, columns = picture.shape[:2]
    for mask in masks:
        part = mask.within(rows, columns)
        if part is not None:
            picture[part.top : part.bottom, part.left : part.right] = 0
            cv2.rectangle(picture, (part.left, part.top), (part.right - 1, part.bottom - 1), EDGE[::-1].tolist(), 1)
    done, encoded = cv2.imencode(".png", picture)
    if not done:
        raise Held("held-unreadable", "the picture cannot be drawn")
    return encoded.tobytes()


def _file(data: bytes) -> File:
    try:
        return read_file(data)
    except MalformedError as error:
        raise Held("held-unreadable", f"it cannot be read: {error}") from error


def _decided(file: File, met: Placed | None) -> tuple[tuple[Rectangle, ...] | None, str]:
    if PIXEL_DATA not in file.elements:
        return (), "it has no pixels"
    if met is None:
        why = gate.shows_text(file)
        return (None, f"held-device: no rule for its device. {why}") if why else ((), "nothing is blanked")
    if met.rule.action == "hold":
        return None, f"held-device: {met.rule.why}"
    masks = masks_of(met.rule, file)
    if masks is None:
        return None, "held-device: it has no ultrasound regions that can be used"
    return masks, _share(masks, *(gate.number(file.elements.get(tag), 0) for tag in NUMBERS.values()))


def _share(masks: Sequence[Rectangle], rows: int, columns: int) -> str:
    if not masks:
        return "nothing is blanked"
    blank = np.zeros((rows, columns), np.bool_)
    for part in _within(masks, rows, columns):
        blank[part.top : part.bottom, part.left : part.right] = True
    places = "; ".join(f"{one.left} {one.top} {one.width} {one.height}" for one in masks)
    return f"blanked are {blank.mean():.1%} of the picture: {places}"


def _within(masks: Sequence[Rectangle], rows: int, columns: int) -> Iterator[Rectangle]:
    for mask in masks:
        if (part := mask.within(rows, columns)) is not None:
            yield part


def _device(file: File) -> str:
    said = {
        name: "".join(letter for letter in gate.text(file.elements.get(tag)) if letter.isprintable())
        for name, tag in TEXTS.items()
    }
    row = sop_classes().get(said["sop_class"])
    said |= {name: str(gate.number(file.elements.get(tag), 0)) for name, tag in NUMBERS.items()}
    kind = f" ({row['name']})" if row else ""
    return "; ".join(
        f"{name} {value or '(empty)'}{kind if name == 'sop_class' else ''}" for name, value in said.items()
    )


def _eight_bits(frame: NDArray[np.generic], photometric: str) -> NDArray[np.uint8]:
    """A frame, shape (rows, columns, samples), as BGR of 8 bits."""
    values = frame.astype(np.float32)
    low, high = np.percentile(values, (DARKEST, BRIGHTEST))
    if values.shape[-1] == 3 and high <= 255:
        low, high = 0.0, 255.0
    grey = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1)
    if photometric == "MONOCHROME1":
        grey = 1 - grey
    picture = (grey * 255).astype(np.uint8)
    if picture.shape[-1] == 1:
        picture = np.repeat(picture, 3, axis=-1)
    return np.ascontiguousarray(picture[..., ::-1])
