"""What is held before anything is changed: objects whose pixels or documents may show who the patient is."""

from __future__ import annotations

import numpy as np

from sluice.deid.bitstream import UnknownBitstreamError, clean_fragments
from sluice.deid.elements import PIXEL_DATA, DataSet, Element, File, Fragments, walk
from sluice.deid.held import Held
from sluice.deid.profile import CONTENT, GRAPHICS, SCREENED, Profile, sop_classes

SOP_CLASS, IMAGE_TYPE, CONVERSION_TYPE, MODALITY = 0x00080016, 0x00080008, 0x00080064, 0x00080060
BURNED_IN, PHOTOMETRIC, SAMPLES = 0x00280301, 0x00280004, 0x00280002
ALLOCATED, STORED, HIGH_BIT, SIGNED, FRAMES = 0x00280100, 0x00280101, 0x00280102, 0x00280103, 0x00280008
STANDARD_ROOT = "1.2.840.10008."
# Words of Image Type (0008,0008) that say the picture is of a screen or a page.
SCREEN_WORDS = ("SCREEN", "DOSE", "REPORT", "CAPTURE", "PROTOCOL", "SUMMARY", "FUSED_IMAGE", "SAVED")
# Conversion Type (0008,0064): what was no digital acquisition of the modality.
CONVERTED = frozenset({"DV", "DF", "SD", "SI", "DRW", "WSD", "SYN"})
MONOCHROME = frozenset({"MONOCHROME1", "MONOCHROME2"})
TEXT_MODALITIES = frozenset({"SC", "OT", "US", "IVUS", "SR", "DOC", "KO", "PR", "SM", "ES", "XC", "HC", "REG"})


def check(file: File, profile: Profile, screened: bool = False) -> dict[str, str]:
    """Return the row of `sop_classes` of an object that may leave under a profile.

    Args:
        screened: a rule for its device and a screening of its pixels stand behind it (`sluice.deid.pixels`); without
            them nothing leaves that shows text by habit.

    Raises:
        Held: it may not, with the reason.
    """
    uid = class_of(file)
    if not uid.startswith(STANDARD_ROOT):
        raise Held("held-class", "private or missing SOP class: its contents are not defined")
    reason = profile.why_held(uid, screened)
    if reason is not None:
        raise Held("held-class", reason)
    row = sop_classes()[uid]
    if row["disposition"] in (CONTENT, GRAPHICS):
        return row
    if PIXEL_DATA not in file.elements:
        raise Held("held-class", "an image without pixel data")
    if not screened and (why := shows_text(file)):
        raise Held("held-class", why)
    return row


def class_of(file: File) -> str:
    """SOP Class UID of the data set, else of the file meta; empty where there is none."""
    return text(file.elements.get(SOP_CLASS)) or file.media_sop_class


def shows_text(file: File) -> str | None:
    """Why an object is one of those that show text by habit; None where nothing says so."""
    elements, row = file.elements, sop_classes().get(class_of(file))
    if row is not None and row["disposition"] == SCREENED:
        return f"{row['name']}: {row['reason']}"
    if text(elements.get(BURNED_IN)).upper() == "YES":
        return "Burned In Annotation is YES"
    if any(element.tag == BURNED_IN and text(element).upper() == "YES" for _, element in walk(elements)):
        return "Burned In Annotation is YES in a frame or reference"
    image_type = text(elements.get(IMAGE_TYPE)).upper()
    if any(word in image_type for word in SCREEN_WORDS):
        return "Image Type says it is a screen or a report"
    if text(elements.get(CONVERSION_TYPE)).upper() in CONVERTED:
        return "Conversion Type says it is no acquisition of the modality"
    if text(elements.get(MODALITY)).upper() in TEXT_MODALITIES:
        return "the modality contradicts the SOP class"
    if number(elements.get(SAMPLES), 1) != 1 or text(elements.get(PHOTOMETRIC)) not in MONOCHROME:
        return "a colour picture in a greyscale class is a screen or a report"
    return None


def clean_pixels(file: File) -> Element:
    """Pixel data as it may leave: fragments without comments, nothing in unused bits.

    Raises:
        Held: compressed frames without rule, or bits outside the stored ones that carry something.
    """
    elements = file.elements
    pixels = elements[PIXEL_DATA]
    if isinstance(pixels.value, Fragments):
        try:
            frames = max(number(elements.get(FRAMES), 1), 1)
            area = number(elements.get(0x00280010), 0) * number(elements.get(0x00280011), 0)
            parts = clean_fragments(pixels.value.parts, frames, file.transfer_syntax, area or None)
        except UnknownBitstreamError as error:
            raise Held("held-unreadable", str(error)) from error
        return Element(PIXEL_DATA, "OB", Fragments(parts))
    if not isinstance(pixels.value, bytes):
        raise Held("held-unreadable", "the pixel data is a sequence")
    allocated = number(elements.get(ALLOCATED), 0)
    if allocated not in (8, 16, 32):
        raise Held("held-unreadable", f"{allocated} bits allocated")
    value = pixels.value[: _expected_bytes(elements, allocated)]
    _check_unused_bits(value, elements, allocated)
    return Element(PIXEL_DATA, "OB" if allocated == 8 and pixels.vr == "OB" else "OW", value)


def _expected_bytes(elements: DataSet, allocated: int) -> int:
    """Bytes that the image needs; what stands behind them is no pixel and goes."""
    rows, columns = number(elements.get(0x00280010), 0), number(elements.get(0x00280011), 0)
    frames = max(number(elements.get(FRAMES), 1), 1)
    samples = max(number(elements.get(SAMPLES), 1), 1)
    if text(elements.get(PHOTOMETRIC)) == "YBR_FULL_422":
        samples = 2  # two pixels share their colour, PS3.3 C.7.6.3.1.2
    needed = rows * columns * frames * samples * allocated // 8
    found = elements[PIXEL_DATA].value
    if not needed or not isinstance(found, bytes) or len(found) < needed:
        raise Held("held-unreadable", "the pixel data is shorter than the image")
    return needed


def _check_unused_bits(value: bytes, elements: DataSet, allocated: int) -> None:
    """Refuse words whose bits above the stored ones are neither zero nor the sign: retired overlays lived there."""
    stored, high = number(elements.get(STORED), allocated), number(elements.get(HIGH_BIT), allocated - 1)
    if not 1 <= stored <= allocated or high != stored - 1:
        raise Held("held-class", "the stored bits do not start at bit 0: the unused ones may hold an overlay")
    if stored == allocated:
        return
    signed = number(elements.get(SIGNED), 0) == 1
    words = np.frombuffer(value, dtype=f"<{'i' if signed else 'u'}{allocated // 8}")
    lowest, highest = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    if words.size and (int(words.min()) < lowest or int(words.max()) > highest):
        raise Held("held-class", "bits outside the stored ones are set: they may hold an overlay")


def text(element: Element | None) -> str:
    """A value as text, for comparison with terms of the standard; empty where there is none."""
    if element is None or not isinstance(element.value, bytes):
        return ""
    return element.value.decode("latin-1").strip(" \0")


def number(element: Element | None, default: int) -> int:
    """A US or IS value; `default` where it is missing or no number."""
    if element is None or not isinstance(element.value, bytes) or not element.value:
        return default
    if element.vr in ("US", "SS") or (element.vr in ("UN", "OB") and len(element.value) == 2):
        return int.from_bytes(element.value[:2], "little")
    try:
        return int(text(element))
    except ValueError:
        return default
