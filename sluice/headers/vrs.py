"""VRs of elements that do not tell their own, and what of a data set that depends on."""

from __future__ import annotations

from functools import lru_cache

from pydicom.datadict import dictionary_VR, private_dictionary_VR

from sluice.headers.header import Context
from sluice.headers.values import encodings_of

NOTED = frozenset({0x00080005, 0x00280103, 0x00283002})  # later elements depend on them


def vr_of(tag: int, context: Context) -> bytes:
    """VR of an element that does not tell its own (implicit, or UN), PS3.5 6.2.2."""
    group, element = tag >> 16, tag & 0xFFFF
    if group & 1:
        if 0x10 <= element <= 0xFF:
            return b"LO"
        creator = context.creators.get(group << 16 | element >> 8)
        return _private_vr(tag, creator) if creator and element > 0xFF else b"UL" if not element else b"UN"
    vr = dictionary_vr(tag)
    if b" or " not in vr:
        return vr
    if vr == b"US or SS":
        return b"SS" if context.signed_pixels else b"US"
    if tag == 0x00283006:
        return b"US" if context.lut_entries == 1 else b"OW"
    return b"OW"


def noted(tag: int, value: bytes, context: Context) -> Context:
    """The context behind an element that later ones depend on."""
    if tag == 0x00080005:
        return context._replace(encodings=encodings_of(value))
    if tag == 0x00280103 and len(value) == 2:
        return context._replace(signed_pixels=value != b"\x00\x00")
    if tag == 0x00283002 and len(value) >= 2:
        return context._replace(lut_entries=int.from_bytes(value[:2], "little"))
    if tag >> 16 & 1 and 0x10 <= tag & 0xFFFF <= 0xFF:
        return context._replace(creators={**context.creators, tag: value.decode("latin-1").strip(" \x00")})
    return context


@lru_cache(maxsize=65536)
def dictionary_vr(tag: int) -> bytes:
    """VR of a standard element as pydicom's dictionary has it, `US or SS` among them; UN where it is unknown."""
    try:
        return dictionary_VR(tag).encode("ascii")
    except KeyError:
        return b"UN" if tag & 0xFFFF else b"UL"


@lru_cache(maxsize=65536)
def _private_vr(tag: int, creator: str) -> bytes:
    try:
        return private_dictionary_VR(tag, creator).encode("ascii")
    except KeyError:
        return b"UN"
