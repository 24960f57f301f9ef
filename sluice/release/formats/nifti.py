"""NIfTI of released series, by `dcm2niix` on the de-identified files; what it writes besides voxels is cleaned by
allow-list."""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dcm2niix

from sluice.release.formats.made import Made, NotMade

LIMIT_S = 600
FLAT = ("CR", "DX", "MG", "IO", "XA", "RF", "US", "PX")  # projections and films: no volume
FEWEST = 3  # slices
LEVEL = 4  # of gzip
OF_TEXT = ((14, 18), (148, 80), (228, 24), (328, 16))  # data type, description, auxiliary file, intent: NIfTI-1 texts
# Keys of the sidecar (BIDS 1.10 and dcm2niix) that are numbers or code strings of the acquisition.
KEPT = frozenset([
    "Modality", "MagneticFieldStrength", "ImagingFrequency", "Manufacturer", "ManufacturersModelName", "BodyPart",
    "BodyPartExamined", "PatientPosition", "MRAcquisitionType", "ScanningSequence", "SequenceVariant",
    "ScanOptions", "ImageType", "NonlinearGradientCorrection", "SliceThickness", "SpacingBetweenSlices", "SAR",
    "EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "PartialFourier", "EchoNumber", "EchoTrainLength",
    "PhaseEncodingSteps", "PercentPhaseFOV", "PercentSampling", "AcquisitionMatrixPE", "ReconMatrixPE",
    "PixelBandwidth", "DwellTime", "PhaseEncodingAxis", "PhaseEncodingDirection", "ImageOrientationPatientDICOM",
    "ImageOrientationText", "InPlanePhaseEncodingDirectionDICOM", "EffectiveEchoSpacing", "TotalReadoutTime",
    "ParallelReductionFactorInPlane", "BaseResolution", "SliceTiming", "MultibandAccelerationFactor", "KVP",
    "XRayTubeCurrent", "XRayExposure", "ExposureTime", "ConvolutionKernel", "SpatialResolution",
    "GantryDetectorTilt", "Units", "DecayCorrection", "AttenuationCorrectionMethod", "ReconstructionMethod",
    "FrameDuration", "FrameTimesStart", "ConversionSoftware", "ConversionSoftwareVersion", "NumberOfAverages",
    "CoilCombinationMethod", "WaterFatShift",
])  # fmt: skip


def recipe() -> str:
    """What decides the bytes besides the files."""
    return f"nifti/1 dcm2niix {dcm2niix.__version__}"


def refuse(modality: str | None, frames: Sequence[int | None]) -> None:
    """Say beforehand that a series is no volume.

    Args:
        frames: number of frames of each object; None where it has one.

    Raises:
        NotMade: `no-volume`.
    """
    if modality in FLAT:
        raise NotMade("no-volume", f"projections ({modality})")
    if sum(count or 1 for count in frames) < FEWEST:
        raise NotMade("no-volume", f"fewer than {FEWEST} slices")


def volumes(files: Path, path: str, about: dict[str, Any]) -> list[Made]:
    """What a folder of one series' de-identified files becomes: `.nii.gz`, its cleaned `.json`, `.bval` and `.bvec`.

    Args:
        path: of the series in the version's folder; the files of several volumes are told apart by dcm2niix's suffixes.
        about: identities, for the table `volumes`.

    Raises:
        NotMade: `converter-failed`, or `no-volume` where it finds nothing to convert.
    """
    out = files.parent / "out"
    out.mkdir()
    command = [dcm2niix.bin, "-b", "y", "-ba", "y", "-z", "n", "-f", "volume", "-o", str(out), str(files)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotMade("converter-failed", f"dcm2niix did not end within {LIMIT_S} s") from None
    written = sorted(out.glob("*.nii"))
    if not written:
        if done.returncode in (0, 2):
            raise NotMade("no-volume", "dcm2niix found nothing that it converts")
        raise NotMade("converter-failed", f"dcm2niix ended with {done.returncode}")
    made: list[Made] = []
    for volume in written:
        data = bytearray(volume.read_bytes())
        columns = about | _described(data)
        name = f"{path}/{volume.stem}"
        made.append(
            Made(f"{name}.nii.gz", gzip.compress(_without_texts(data), LEVEL, mtime=0), "application/gzip", columns)
        )
        beside = about | {"is_data": False}
        sidecar = volume.with_suffix(".json")
        if sidecar.is_file():
            made.append(Made(f"{name}.json", _cleaned(sidecar.read_bytes()), "application/json", beside))
        for ending in (".bval", ".bvec"):
            numbers = volume.with_suffix(ending)
            if numbers.is_file():
                made.append(Made(name + ending, numbers.read_bytes(), "text/plain", beside))
    return made


def _described(data: bytes | bytearray) -> dict[str, Any]:
    """Shape and spacing of the header (NIfTI-1, 348 bytes)."""
    order = "<" if struct.unpack_from("<i", data)[0] == 348 else ">"
    count, *shape = struct.unpack_from(f"{order}8h", data, 40)
    spacing = struct.unpack_from(f"{order}7f", data, 80)
    (code,) = struct.unpack_from(f"{order}h", data, 70)
    return {
        "shape": shape[:count],
        "spacing_mm": [round(one, 6) for one in spacing[:count]],
        "datatype": DATATYPES.get(code, str(code)),
    }


DATATYPES = {
    2: "uint8",
    4: "int16",
    8: "int32",
    16: "float32",
    64: "float64",
    128: "rgb24",
    512: "uint16",
    768: "uint32",
}


def _without_texts(data: bytearray) -> bytes:
    """The volume with the texts of its header blank."""
    for first, length in OF_TEXT:
        data[first : first + length] = bytes(length)
    return bytes(data)


def _cleaned(body: bytes) -> bytes:
    """The sidecar with the keys that are on the list."""
    try:
        said = json.loads(body)
    except ValueError:
        said = {}
    kept = {name: value for name, value in said.items() if name in KEPT}
    return json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
