"""The one decode: every transfer syntax and photometric interpretation gives the same picture; bad input a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from models.decode_workers import DecodeWorkers
from models.frames import FirstFrame, Values
from models.framing import NotReadable, at_side
from models.preprocess import Canonical, canonical
from tests.models.films import body, body_film, film, written


@pytest.fixture
def golden(tmp_path: Path) -> np.ndarray:
    """The canonical image of the uncompressed film."""
    return canonical(written(body_film(), tmp_path, "golden.dcm")).image


def apart(one: np.ndarray, other: np.ndarray) -> int:
    """Largest difference in grey levels."""
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_a_file_of_gigabytes_is_no_radiograph_and_is_not_read(tmp_path: Path) -> None:
    path = written(body_film(), tmp_path, "huge.dcm")
    with path.open("r+b") as file:
        file.truncate(2 << 30)  # a hole: it takes no room
    with pytest.raises(NotReadable, match=r"pixels-unsuitable.*no radiograph"):
        canonical(path)


def test_geometry_and_levels_of_the_plain_film(golden: np.ndarray) -> None:
    assert golden.shape == (512, 512)
    assert golden.dtype == np.uint8
    # 300 x 260 becomes 512 x 444, in the middle; the padding is black and the spine the brightest.
    assert golden[:, :30].max() == 0
    assert golden[:, -30:].max() == 0
    assert golden[256, 256] > 250 > golden[256, 120] > golden[256, 60]


def test_source_size_and_age_are_kept(tmp_path: Path) -> None:
    result = canonical(written(body_film(PatientAge="018M"), tmp_path))
    assert (result.source_rows, result.source_columns) == (300, 260)
    assert result.patient_age_years == pytest.approx(1.5)
    dated = canonical(written(body_film(PatientBirthDate="19800101", StudyDate="20200101"), tmp_path))
    assert dated.patient_age_years == pytest.approx(40, abs=0.01)
    for nonsense in ({"PatientAge": "000Y"}, {"PatientBirthDate": "20300101", "StudyDate": "20200101"}, {}):
        assert canonical(written(body_film(**nonsense), tmp_path)).patient_age_years is None


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless])
def test_compressed_syntaxes_give_the_plain_picture(syntax: str, tmp_path: Path, golden: np.ndarray) -> None:
    dataset = body_film()
    options = {"jls_error": 2} if syntax == JPEGLSNearLossless else {}
    dataset.compress(syntax, generate_instance_uid=False, **options)
    difference = apart(canonical(written(dataset, tmp_path)).image, golden)
    assert difference <= (1 if syntax == JPEGLSNearLossless else 0)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_other_encodings_give_the_plain_picture(syntax: str, tmp_path: Path, golden: np.ndarray) -> None:
    dataset = body_film()
    dataset.file_meta.TransferSyntaxUID = syntax
    assert apart(canonical(written(dataset, tmp_path)).image, golden) == 0


def test_big_endian(tmp_path: Path, golden: np.ndarray) -> None:
    dataset = film((body() * 3800 + 100).astype(">u2"))
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    path = tmp_path / "big.dcm"
    dataset.set_original_encoding(is_implicit_vr=False, is_little_endian=False)
    dataset.save_as(path, enforce_file_format=True)
    assert apart(canonical(path).image, golden) == 0


def test_jpeg_lossless_by_gdcm(tmp_path: Path, golden: np.ndarray) -> None:
    gdcm = pytest.importorskip("gdcm")
    source, target = written(body_film(), tmp_path, "plain.dcm"), tmp_path / "jpeg.dcm"
    assert _recoded(gdcm, source, target, gdcm.TransferSyntax.JPEGLosslessProcess14_1)
    assert apart(canonical(target).image, golden) == 0


def test_monochrome1_is_inverted(tmp_path: Path, golden: np.ndarray) -> None:
    pixels = 4095 - (body() * 3800 + 100).astype(np.uint16)
    assert apart(canonical(written(film(pixels, PhotometricInterpretation="MONOCHROME1"), tmp_path)).image, golden) <= 1


def test_signed_with_rescale(tmp_path: Path, golden: np.ndarray) -> None:
    pixels = (body() * 3800 + 100).astype(np.int16) - 2000
    dataset = film(pixels, RescaleSlope="2", RescaleIntercept="-1000")
    assert apart(canonical(written(dataset, tmp_path)).image, golden) <= 1


def test_window_sets_the_levels(tmp_path: Path) -> None:
    half = film((body() * 3800 + 100).astype(np.uint16), WindowCenter="1000", WindowWidth="2000")
    result = canonical(written(half, tmp_path))
    assert result.windowing == "window"
    stored = int((body() * 3800 + 100).astype(np.uint16)[75, 65])
    place = result.image[round(75 * 512 / 300), (512 - 444) // 2 + round(65 * 512 / 300)]
    assert place == pytest.approx(stored / 2000 * 255, abs=6)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_functions_keep_the_order_of_levels(function: str, tmp_path: Path) -> None:
    image = canonical(
        written(body_film(WindowCenter="1900", WindowWidth="3800", VOILUTFunction=function), tmp_path)
    ).image
    assert image[256, 256] > image[256, 120] > image[256, 60]


def test_a_window_that_burns_the_picture_is_not_believed(tmp_path: Path, golden: np.ndarray) -> None:
    result = canonical(written(body_film(WindowCenter="30000", WindowWidth="10"), tmp_path))
    assert result.windowing == "percentile"
    assert apart(result.image, golden) == 0


def test_voi_lut(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.LUTData = (np.linspace(0, 1, 4096) ** 2 * 65535).astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    result = canonical(written(body_film(VOILUTSequence=Sequence([table])), tmp_path))
    assert result.windowing == "voi-lut"
    ratio = (body()[150, 130] * 3800 + 100) / 4095
    assert result.image[256, 256] == pytest.approx(ratio**2 * 255, abs=6)


def test_modality_lut(tmp_path: Path, golden: np.ndarray) -> None:
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.ModalityLUTType = "US"
    table.LUTData = (4095 - np.arange(4096)).astype("<u2").tobytes()
    table["LUTData"].VR = "OW"
    dataset = body_film(ModalityLUTSequence=Sequence([table]), PhotometricInterpretation="MONOCHROME1")
    assert apart(canonical(written(dataset, tmp_path)).image, golden) <= 1


def test_padding_is_black_and_does_not_shift_the_levels(tmp_path: Path, golden: np.ndarray) -> None:
    pixels = np.full((360, 260), 4095, dtype=np.uint16)
    pixels[30:330] = (body() * 3800 + 100).astype(np.uint16)
    image = canonical(written(film(pixels, PixelPaddingValue=4095), tmp_path)).image
    assert apart(image, golden) <= 2  # black padding is cut away like any border


def test_black_collimation_borders_are_cut_away(tmp_path: Path, golden: np.ndarray) -> None:
    pixels = np.zeros((400, 420), dtype=np.uint16)
    pixels[50:350, 80:340] = (body() * 3800 + 100).astype(np.uint16)
    image = canonical(written(film(pixels), tmp_path)).image
    assert np.abs(image.astype(int) - golden).mean() < 6


def test_first_frame_of_several(tmp_path: Path, golden: np.ndarray) -> None:
    frame = (body() * 3800 + 100).astype(np.uint16)
    assert apart(canonical(written(film(np.stack([frame, frame[::-1]])), tmp_path)).image, golden) == 0


def test_sixty_megapixels(tmp_path: Path) -> None:
    small = (body(250, 240) * 3800 + 100).astype(np.uint16)
    result = canonical(written(film(np.kron(small, np.ones((32, 32), dtype=np.uint16))), tmp_path))
    assert (result.source_rows, result.source_columns) == (8000, 7680)
    assert result.image[256, 256] > 240


def test_float_pixels_with_nan(tmp_path: Path, golden: np.ndarray) -> None:
    values = (body() * 3800 + 100).astype(np.float32)
    values[:20, :20] = np.nan
    dataset = film(np.zeros((300, 260), dtype=np.uint16), bits=16, PixelData=None)
    for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, keyword)
    dataset.BitsAllocated = 32
    dataset.FloatPixelData = values.tobytes()
    image = canonical(written(dataset, tmp_path)).image
    assert np.abs(image.astype(int) - golden).mean() < 3


LARGE = (2200, 1800)


def large_film(bits: int = 12, signed: bool = False) -> FileDataset:
    """A film of four megapixels with the noise of a detector."""
    noise = np.random.default_rng(5).normal(0, 4, LARGE)
    grey = body(*LARGE) * 3800 + 100 + noise
    if bits == 8:
        return film((grey / 16).astype(np.uint8), bits=8)
    return film((grey - 2000).astype(np.int16)) if signed else film(grey.astype(np.uint16))


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("kind", [{"bits": 12}, {"bits": 8}, {"bits": 12, "signed": True}])
def test_a_large_film_is_the_same_however_little_of_it_is_decoded(
    syntax: str, kind: dict[str, int], tmp_path: Path
) -> None:
    plain = canonical(written(large_film(**kind), tmp_path, "plain.dcm"))
    packed = large_film(**kind)
    packed.compress(syntax, generate_instance_uid=False)
    found = canonical(written(packed, tmp_path, "packed.dcm"))
    assert (found.source_rows, found.source_columns, found.windowing) == (*LARGE, plain.windowing)
    assert np.abs(found.image.astype(int) - plain.image).mean() < 1.5
    if syntax != JPEG2000Lossless:
        assert apart(found.image, plain.image) == 0


def test_jpeg_2000_and_jpeg_are_decoded_no_larger_than_needed(tmp_path: Path) -> None:
    packed = large_film()
    packed.compress(JPEG2000Lossless, generate_instance_uid=False)
    with FirstFrame(written(packed, tmp_path)) as frame:
        found = frame.values(512)
        assert (found.reduced, found.array.shape) == (4, (550, 450))
        assert found.array.max() < 4096, "not scaled up to 16 bits"
        assert frame.values(2000).array.shape == LARGE


def test_jpeg_baseline_by_gdcm(tmp_path: Path) -> None:
    gdcm = pytest.importorskip("gdcm")
    source, target = written(large_film(bits=8), tmp_path, "plain.dcm"), tmp_path / "jpeg.dcm"
    assert _recoded(gdcm, source, target, gdcm.TransferSyntax.JPEGBaselineProcess1)
    with FirstFrame(target) as frame:
        assert frame.values(512).array.shape == (550, 450)
    difference = np.abs(canonical(target).image.astype(int) - canonical(source).image)
    assert difference.mean() < 1.5


def test_bits_above_bits_stored_hold_no_grey_value(tmp_path: Path, golden: np.ndarray) -> None:
    pixels = (body() * 3800 + 100).astype(np.uint16)
    pixels[100:140] |= 0x8000  # an overlay of old devices
    assert apart(canonical(written(film(pixels), tmp_path)).image, golden) == 0


def test_where_much_is_cut_away_the_rest_has_all_its_pixels_and_its_place_is_known(tmp_path: Path) -> None:
    pixels = np.zeros((3000, 3000), np.uint16)
    pixels[900:1700, 600:1200] = (body(800, 600) * 3800 + 100).astype(np.uint16)
    pixels[900:1700:4, 600:1200] += 200  # finer than a look at the whole film can show
    found = canonical(written(film(pixels), tmp_path))
    row, column, rows, columns = found.crop
    assert (row, column) == (pytest.approx(900, abs=8), pytest.approx(600, abs=8))
    assert (rows, columns) == (pytest.approx(800, abs=16), pytest.approx(600, abs=16))
    assert np.abs(np.diff(found.image[200:300, 150].astype(int))).max() > 5


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_a_detail_image_shows_the_same_on_more_pixels_and_changes_nothing_of_the_canonical_one(
    syntax: str | None, tmp_path: Path
) -> None:
    lines = np.arange(LARGE[1]) % 4 < 2  # finer than 512 pixels can show
    grey = (body(*LARGE) * 3000 + 100 + 400 * lines).astype(np.uint16)
    dataset = film(grey, PatientAge="061Y")
    if syntax is not None:
        dataset.compress(syntax, generate_instance_uid=False)
    path = written(dataset, tmp_path)
    alone, both = canonical(path), canonical(path, detail=True)
    assert alone.detail is None
    assert apart(alone.image, both.image) == 0
    assert (both.crop, both.patient_age_years) == (alone.crop, 61)
    assert both.detail is not None
    assert (both.detail.shape, both.detail.dtype) == ((1024, 1024), np.uint8)
    assert np.corrcoef(at_side(both.detail, 512).ravel(), both.image.ravel())[0, 1] > 0.995
    steps = [np.abs(np.diff(image[len(image) // 2].astype(int))).mean() for image in (both.image, both.detail)]
    assert steps[1] > 3 * steps[0]
    with DecodeWorkers(1) as workers:
        finer, coarse = workers.canonical([path, path], [True, False])
    assert isinstance(finer, Canonical)
    assert isinstance(coarse, Canonical)
    assert finer.detail is not None
    assert apart(finer.detail, both.detail) == 0
    assert coarse.detail is None


def test_a_film_of_fewer_pixels_has_no_detail_image(tmp_path: Path) -> None:
    shutters = np.zeros((3000, 3000), np.uint16)
    shutters[900:1700, 600:1200] = (body(800, 600) * 3800 + 100).astype(np.uint16)
    for pixels in ((body(1000, 900) * 3800 + 100).astype(np.uint16), shutters):
        assert canonical(written(film(pixels), tmp_path), detail=True).detail is None


def test_jpeg_2000_is_decoded_at_the_level_that_detail_needs_only_where_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = large_film()
    packed.compress(JPEG2000Lossless, generate_instance_uid=False)
    path = written(packed, tmp_path)
    looked: list[int] = []
    values = FirstFrame.values

    def noted(frame: FirstFrame, side: int) -> Values:
        found = values(frame, side)
        looked.append(found.reduced)
        return found

    monkeypatch.setattr(FirstFrame, "values", noted)
    canonical(path)
    assert looked == [4]
    canonical(path, detail=True)
    assert looked == [4, 4, 2]


def test_wrong_photometric_interpretations(tmp_path: Path) -> None:
    for name in ("RGB", "PALETTE COLOR", "YBR_FULL", "", None):
        assert reason(body_film(PhotometricInterpretation=name), tmp_path) == "pixels-unsuitable"


def _recoded(gdcm: Any, source: Path, target: Path, syntax: Any) -> bool:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    change, writer = gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    if not reader.Read():
        return False
    change.SetInput(reader.GetImage())
    if not change.Change():
        return False
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    return bool(writer.Write())


def reason(dataset: object, folder: Path) -> str:
    """Reason code with which a dataset is refused, in a process that may end on it."""
    with DecodeWorkers(1) as workers:
        (refusal,) = workers.canonical([written(dataset, folder)])  # type: ignore[arg-type]
    assert isinstance(refusal, NotReadable)
    assert str(folder) not in str(refusal)
    return refusal.reason_code


BAD_RESCALE = {"RescaleSlope": "1e38", "RescaleIntercept": "1e39"}


def test_unsuitable_pictures_are_refused(tmp_path: Path) -> None:
    constant = np.full((200, 200), 7, dtype=np.uint16)
    colour = film((body(100, 300) * 255).astype(np.uint8), bits=8)
    colour.SamplesPerPixel, colour.PhotometricInterpretation, colour.PlanarConfiguration = 3, "RGB", 0
    colour.Columns = 100
    capture = body_film(SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    capture.file_meta.MediaStorageSOPClassUID = capture.SOPClassUID
    for dataset in (
        film(constant),
        colour,
        capture,
        body_film(PixelData=None),
        film((body(1, 3000) * 4000).astype(np.uint16)),
        body_film(Rows=0),
        film(constant, PixelPaddingValue=7),
        body_film(**BAD_RESCALE),
    ):
        assert reason(dataset, tmp_path) == "pixels-unsuitable"


def test_undecodable_pixels_are_refused(tmp_path: Path) -> None:
    short = body_film()
    short.PixelData = short.PixelData[:1000]
    assert reason(short, tmp_path) == "pixels-unreadable"
    corrupt = body_film()
    corrupt.compress(JPEG2000Lossless, generate_instance_uid=False)
    data = bytearray(corrupt.PixelData)
    data[60:400] = b"\xff" * 340
    corrupt.PixelData = bytes(data)
    assert reason(corrupt, tmp_path) == "pixels-unreadable"
    foreign = body_film()
    foreign.compress(RLELossless, generate_instance_uid=False)
    foreign.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    assert reason(foreign, tmp_path) == "pixels-unreadable"


@pytest.mark.parametrize(
    "content", [b"", b"not DICOM at all", b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 64]
)
def test_files_that_are_no_dicom(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.dcm"
    path.write_bytes(content)
    with pytest.raises(NotReadable):
        canonical(path)
    with pytest.raises(NotReadable, match="pixels-unreadable"):
        canonical(tmp_path / "missing.dcm")


def test_a_decoder_that_dies_or_hangs_harms_only_its_file(tmp_path: Path, golden: np.ndarray) -> None:
    good = body_film()
    good.compress(JPEGLSLossless, generate_instance_uid=False)
    path, missing = written(good, tmp_path), tmp_path / "missing.dcm"
    with DecodeWorkers(1) as workers:
        first, gone, again = workers.canonical([path, missing, path])
        assert isinstance(first, Canonical)
        assert isinstance(gone, NotReadable)
        assert isinstance(again, Canonical)
        assert apart(first.image, golden) == 0
        child = workers._children[0].process
        assert child is not None
        child.kill()
        child.wait()
        assert [type(one) for one in workers.canonical([path])] == [Canonical]  # a new child
        workers._children[0].time_limit_s = 0.0
        (late,) = workers.canonical([path])
        assert isinstance(late, NotReadable)
        assert "within 0 s" in str(late)
        workers._children[0].time_limit_s = 60.0
        assert [type(one) for one in workers.canonical([path])] == [Canonical]


def test_real_objects_of_every_family_give_a_picture_or_a_reason(shared_data: Path) -> None:
    files = [path for path in sorted(shared_data.glob("dicom/pydicom-data/**/*")) if path.is_file()]
    files = [path for path in files if path.stat().st_size < 2_000_000]
    with DecodeWorkers(2) as workers:
        made = list(workers.canonical(files))
    outcomes = [one.reason_code if isinstance(one, NotReadable) else "picture" for one in made]
    assert set(outcomes) == {"picture", "pixels-unreadable", "pixels-unsuitable"}
    assert outcomes.count("picture") > 10
    assert all(one.image.shape == (512, 512) for one in made if isinstance(one, Canonical))
