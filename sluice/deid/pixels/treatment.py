"""What happens to the pixels of one instance on its way out: rectangles blanked in all frames, and what may be claimed.

    treatment = treatment_for(file, policy, screened)
    produced = deidentify(data, profile, identities, treatment)

The engine calls `apply` before anything else: attributes that have to follow the pixels are changed in the file.
"""

from __future__ import annotations

from dataclasses import dataclass

from sluice.deid import gate
from sluice.deid.elements import PIXEL_DATA, Element, File, Fragments
from sluice.deid.pixels import image
from sluice.deid.pixels.rectangle import Rectangle


@dataclass(frozen=True)
class PixelTreatment:
    """What is done to the pixels of one instance.

    Attributes:
        masks: rectangles that are blanked in every frame.
        cleaned: 113101 and Burned In Annotation NO may be claimed: it was screened, what was found is blanked, and the
            project says that a person approves.
        defaced: 113102 may be claimed. This version defaces nothing, so it is never True (docs/pixels.md).
        screened: a rule for its device and a screening stand behind this, so that a class or picture that shows text
            by habit may leave.
    """

    masks: tuple[Rectangle, ...] = ()
    cleaned: bool = False
    defaced: bool = False
    screened: bool = False

    def apply(self, file: File) -> Element:
        """The pixel data as it may leave. What stands outside the masks has the values that it had.

        Where the pixels are written in another way than they came, the file's Photometric Interpretation, Planar
        Configuration and Lossy Image Compression are changed to say so.

        Raises:
            Held: the pixels cannot be decoded, or not be written again without loss.
        """
        pixels = gate.clean_pixels(file)
        if not self.masks:
            return pixels
        layout = image.Layout.of(file.elements)
        if isinstance(pixels.value, Fragments):
            return self._of_compressed(file, layout, pixels.value)
        array = image.native(pixels.value, layout)
        fill = image.background(array, layout, layout.photometric, file.elements)
        image.blank(array, self.masks, fill, layout)
        return Element(PIXEL_DATA, pixels.vr, array.tobytes())

    def _of_compressed(self, file: File, layout: image.Layout, fragments: Fragments) -> Element:
        is_lossy = file.transfer_syntax in image.LOSSY
        array = image.decoded(file, layout, fragments.parts, raw=not is_lossy)
        colours = _colours_after(file)
        image.blank(array, self.masks, image.background(array, layout, colours, file.elements), layout)
        if file.transfer_syntax in image.ENCODED_AGAIN:
            return Element(PIXEL_DATA, "OB", Fragments(image.encoded(array, file, layout)))
        if layout.samples == 3:
            file.elements[gate.PHOTOMETRIC] = Element(gate.PHOTOMETRIC, "CS", colours.encode())
            file.elements[image.PLANAR] = Element(image.PLANAR, "US", b"\0\0")
        if file.transfer_syntax in image.ALWAYS_LOSSY or (
            is_lossy and not gate.text(file.elements.get(image.LOSSY_COMPRESSION))
        ):
            file.elements[image.LOSSY_COMPRESSION] = Element(image.LOSSY_COMPRESSION, "CS", b"01")
        vr = "OB" if layout.allocated == 8 else "OW"
        return Element(PIXEL_DATA, vr, array.astype(layout.dtype).tobytes())


def _colours_after(file: File) -> str:
    """Photometric Interpretation of the decoded pixels: lossy colours become RGB, others stay as they were written."""
    photometric = gate.text(file.elements.get(gate.PHOTOMETRIC))
    if photometric in ("YBR_RCT", "YBR_ICT"):
        return "RGB"  # the codestream's own transform, undone by its decoder
    if file.transfer_syntax in image.LOSSY and photometric.startswith("YBR"):
        return "RGB"
    return photometric
