"""What a header promises of its pixels, against the bytes that are there, and what its class promises."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydicom.uid import UID

# Modalities that objects of a class may have (PS3.3, A.2 to A.86: the Modality of each IOD). What is not here may
# have any: secondary captures, documents, presentation states, raw data.
MODALITIES_OF_CLASS = {
    "1.2.840.10008.5.1.4.1.1.1": {"CR", "DX", "RG", "MG", "PX", "IO"},
    "1.2.840.10008.5.1.4.1.1.1.1": {"DX", "CR", "RG", "PX", "IO"},
    "1.2.840.10008.5.1.4.1.1.1.1.1": {"DX", "CR", "RG", "PX", "IO"},
    "1.2.840.10008.5.1.4.1.1.1.2": {"MG"},
    "1.2.840.10008.5.1.4.1.1.1.2.1": {"MG"},
    "1.2.840.10008.5.1.4.1.1.1.3": {"IO", "DX"},
    "1.2.840.10008.5.1.4.1.1.1.3.1": {"IO", "DX"},
    "1.2.840.10008.5.1.4.1.1.13.1.3": {"MG"},
    "1.2.840.10008.5.1.4.1.1.2": {"CT"},
    "1.2.840.10008.5.1.4.1.1.2.1": {"CT"},
    "1.2.840.10008.5.1.4.1.1.2.2": {"CT"},
    "1.2.840.10008.5.1.4.1.1.4": {"MR"},
    "1.2.840.10008.5.1.4.1.1.4.1": {"MR"},
    "1.2.840.10008.5.1.4.1.1.4.2": {"MR"},
    "1.2.840.10008.5.1.4.1.1.4.3": {"MR"},
    "1.2.840.10008.5.1.4.1.1.4.4": {"MR"},
    "1.2.840.10008.5.1.4.1.1.6.1": {"US", "IVUS", "BDUS"},
    "1.2.840.10008.5.1.4.1.1.3.1": {"US", "IVUS", "BDUS"},
    "1.2.840.10008.5.1.4.1.1.6.2": {"US"},
    "1.2.840.10008.5.1.4.1.1.12.1": {"XA", "RF"},
    "1.2.840.10008.5.1.4.1.1.12.1.1": {"XA"},
    "1.2.840.10008.5.1.4.1.1.12.2": {"RF", "XA"},
    "1.2.840.10008.5.1.4.1.1.12.2.1": {"RF"},
    "1.2.840.10008.5.1.4.1.1.20": {"NM"},
    "1.2.840.10008.5.1.4.1.1.128": {"PT"},
    "1.2.840.10008.5.1.4.1.1.130": {"PT"},
    "1.2.840.10008.5.1.4.1.1.128.1": {"PT"},
    "1.2.840.10008.5.1.4.1.1.66.4": {"SEG"},
    "1.2.840.10008.5.1.4.1.1.481.1": {"RTIMAGE"},
    "1.2.840.10008.5.1.4.1.1.481.2": {"RTDOSE"},
    "1.2.840.10008.5.1.4.1.1.481.3": {"RTSTRUCT"},
    "1.2.840.10008.5.1.4.1.1.481.5": {"RTPLAN"},
}

SAMPLES = {"MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "ARGB": 4, "CMYK": 4}


@lru_cache(maxsize=1024)
def is_image(sop_class_uid: str | None) -> bool:
    """Whether a SOP class is one whose objects hold pixel data (PS3.4, table B.5-1)."""
    if not sop_class_uid:
        return False
    name = UID(sop_class_uid).name
    return "Image Storage" in name or name in {"Segmentation Storage", "RT Dose Storage", "Parametric Map Storage"}


def fits_modality(sop_class_uid: str | None, modality: str | None) -> bool | None:
    """Whether objects of the class may have the modality; None where the class allows any or there is none."""
    allowed = MODALITIES_OF_CLASS.get(sop_class_uid or "")
    return modality in allowed if allowed and modality else None


def samples_fit(photometric: str | None, samples: float | None) -> bool | None:
    """Whether Samples per Pixel is what Photometric Interpretation needs (PS3.3, C.7.6.3.1.2)."""
    if not photometric or samples is None:
        return None
    return samples == (3 if photometric.startswith(("YBR", "HSV")) else SAMPLES.get(photometric, samples))


@lru_cache(maxsize=256)
def is_native(transfer_syntax_uid: str) -> bool | None:
    """Whether pixels stand uncompressed in the file (PS3.5, A.4); None for a syntax that is not known."""
    uid = UID(transfer_syntax_uid)
    return not uid.is_compressed if uid.is_transfer_syntax and not uid.is_private else None


def promised_bytes(row: dict[str, Any]) -> float | None:
    """Bytes of the uncompressed pixels as the header's numbers say (PS3.5, 8.1.1); None where one is missing."""
    rows, columns, bits = row["rows"], row["columns"], row.get("bits_allocated")
    if not rows or not columns or not bits:
        return None
    samples = row.get("samples_per_pixel") or 1
    if row["photometric_interpretation"] == "YBR_FULL_422":
        samples = 2  # two pixels share their colour
    elif row["photometric_interpretation"] in ("YBR_PARTIAL_420", "YBR_ICT_420"):
        samples = 1.5
    total = rows * columns * (row["number_of_frames"] or 1) * samples * bits / 8
    return float(-(-total // 1))


def pixel_columns(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of level instance that follow from what pixels are promised."""
    promised, there = promised_bytes(row), row["pixel_bytes"]
    native = is_native(row["transfer_syntax_uid"])
    stored, allocated = row["bits_stored"], row.get("bits_allocated")
    return {
        "is_image": is_image(row["sop_class_uid"]),
        "sop_class_fits_modality": fits_modality(row["sop_class_uid"], row["modality"]),
        "samples_fit_photometric": samples_fit(row["photometric_interpretation"], row.get("samples_per_pixel")),
        "bits_fit": None if stored is None or allocated is None else stored <= allocated,
        # An odd length is padded by one byte (PS3.5, 7.1).
        "pixel_bytes_off": there - promised - promised % 2 if native and promised and there is not None else None,
        "compression_ratio": promised / there if native is False and promised and there else None,
    }
