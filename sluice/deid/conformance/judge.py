"""The judge: what is wrong with an object, by its IOD and by the form of its elements. See the package."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sluice.deid.conformance.forms import ONE_VALUE, TEXT, WIDTH, fault_of_value, vr_and_multiplicity
from sluice.deid.conformance.iods import Module, Tag, iod_of
from sluice.deid.reread import PIXEL_DATA, Found, Reread, RereadError, reread

SOP_CLASS, SOP_INSTANCE = 0x00080016, 0x00080018
META_CLASS, META_INSTANCE, META_SYNTAX = 0x00020002, 0x00020003, 0x00020010
WHOLE_FILE: tuple[Tag, ...] = ()
CONTENT, VALUE_TYPE = 0x0040A730, 0x0040A040
VALUES = {"TEXT": 0x0040A160, "PNAME": 0x0040A123, "UIDREF": 0x0040A124, "DATE": 0x0040A121, "TIME": 0x0040A122,
          "DATETIME": 0x0040A120, "CODE": 0x0040A168, "NUM": 0x0040A300, "IMAGE": 0x00081199, "COMPOSITE": 0x00081199,
          "WAVEFORM": 0x00081199, "CONTAINER": 0x0040A050}  # fmt: skip


@dataclass(frozen=True, order=True)
class Fault:
    """Something that an object must not be.

    Attributes:
        kind: `type-1 missing`, `type-1 empty`, `type-2 missing`, `type-C lost`, `vr`, `form`, `length`,
            `control character`, `multiplicity`, `order`, `private`, `meta` or `unreadable`.
        path: tags from the outermost sequence inwards; empty where it concerns the file.
        module: whose rule it is; empty for rules of PS3.5.
    """

    kind: str
    path: tuple[Tag, ...]
    module: str = ""

    def __str__(self) -> str:
        place = " > ".join(f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in self.path) or "the file"
        return f"{self.kind} {place}" + (f" of {self.module}" if self.module else "")


def new_errors(original: bytes, produced: bytes) -> list[Fault]:
    """What is wrong with the produced file and was not with the original.

    Args:
        original, produced: DICOM files.

    Returns:
        Nothing where de-identification made nothing worse; a file that cannot be read is one fault.
    """
    try:
        after = reread(produced)
    except RereadError:
        return [Fault("unreadable", WHOLE_FILE)]
    try:
        before = reread(original)
    except RereadError:
        return sorted(judge(after))  # nothing to excuse anything
    return new_faults(before, after)


def new_faults(before: Reread, after: Reread) -> list[Fault]:
    """`new_errors` of files that were read already."""
    found = judge(after) | _lost(before, after)
    return sorted(found - judge(before)) if found else []


def _lost(before: Reread, after: Reread) -> set[Fault]:
    """Attributes of Types 1C and 2C that had a value: whether their condition holds is not known here, that it held is.

    An item that is gone as a whole lost nothing. Specific Character Set follows from the values that are left. What a
    content item needs follows from its value type, so its items are judged one by one.
    """
    sop_class = next((one.text() for one in before.elements if one.path == (SOP_CLASS,)), "")
    iod = iod_of(sop_class)
    if iod is None:
        return set()
    left = {one.path for one in after.elements}
    return set(_valueless(after)) | {
        Fault("type-C lost", one.path, module)
        for one in before.elements
        if one.path not in left
        and (module := iod.conditional.get(one.path)) is not None
        and (one.data.strip(b" \0") or one.items)
        and (len(one.path) == 1 or one.path[:-1] in left)
        and CONTENT not in (one.path[-1], *one.path[-2:-1])
    }


def _valueless(file: Reread) -> Iterator[Fault]:
    """Content items without the value that their value type says they have (PS3.3 Table C.17-5)."""
    for (path, _), item in _items(file.elements).items():
        if path[-1] == CONTENT and VALUE_TYPE in item:
            needed = VALUES.get(item[VALUE_TYPE].text())
            if needed is not None and needed not in item:
                yield Fault("type-C lost", (*path, needed), "content item")


def judge(file: Reread) -> set[Fault]:
    """Everything that is wrong with one file."""
    top = {one.tag: one for one in file.elements if len(one.path) == 1}
    faults = _meta(file, top)
    for one in file.elements:
        faults.update(_element(one))
    faults |= _order_and_creators(file.elements)
    sop_class = top[SOP_CLASS].text() if SOP_CLASS in top else ""
    iod = iod_of(sop_class)
    if iod is None:
        return faults
    items = _items(file.elements)
    # Sequences of each path, with how many items each occurrence has.
    sequences: dict[tuple[Tag, ...], list[Found]] = defaultdict(list)
    for one in file.elements:
        if one.vr == "SQ":
            sequences[one.path].append(one)
    modules = [iod.mandatory, *(module for module in iod.optional if not module.own.isdisjoint(top))]
    for module in modules:
        faults.update(_of_module(module, top, sequences, items))
    return faults


Items = dict[tuple[tuple[Tag, ...], tuple[int, ...]], dict[Tag, Found]]


def _items(elements: Iterable[Found]) -> Items:
    """Elements of every item, by the path of its sequence and the numbers of the items on the way."""
    found: Items = defaultdict(dict)
    for one in elements:
        if len(one.path) > 1:
            found[one.path[:-1], one.item][one.path[-1]] = one
    return found


def _of_module(
    module: Module, top: dict[Tag, Found], sequences: dict[tuple[Tag, ...], list[Found]], items: Items
) -> Iterator[Fault]:
    for tag, kind in module.top:
        yield from _required(top.get(tag), kind, (tag,), module.name)
    for path, rows in module.nested.items():
        for sequence in sequences.get(path, ()):
            for number in range(sequence.items):
                item = items.get((path, (*sequence.item, number)), {})
                for tag, kind in rows:
                    yield from _required(item.get(tag), kind, (*path, tag), module.name)


def _required(one: Found | None, kind: str, path: tuple[Tag, ...], module: str) -> Iterator[Fault]:
    if one is None:
        if kind in ("1", "2"):
            yield Fault(f"type-{kind} missing", path, module)
    elif kind in ("1", "1C") and _is_empty(one) and not (kind == "1C" and one.vr == "SQ"):  # often "zero or more items"
        yield Fault("type-1 empty", path, module)


def _is_empty(one: Found) -> bool:
    if one.vr == "SQ":
        return one.items == 0
    return one.tag != PIXEL_DATA and not one.data.strip(b" \0" if one.vr in TEXT else b"")


def _element(one: Found) -> Iterator[Fault]:
    vr, tag = one.vr, one.tag
    allowed, least, most, step = vr_and_multiplicity(tag)
    if allowed and vr not in allowed and not (vr in ("OB", "OW") and allowed & {"OB", "OW"}):
        # Implicit VR says nothing, and pydicom's dictionary lists what depends as "US or SS".
        if " or " not in vr:
            yield Fault("vr", one.path)
        return
    if vr == "SQ" or not one.data:
        return
    if len(one.data) % 2:
        yield Fault("length", one.path)
    if vr in TEXT:
        text = one.text()
        values = [text] if vr in ONE_VALUE else text.split("\\")
        for value in values:
            fault = fault_of_value(vr, value if vr in ONE_VALUE else value.strip(" \0"))
            if fault:
                yield Fault(fault, one.path)
        count = len(values)
    elif vr in WIDTH:
        if len(one.data) % WIDTH[vr]:
            yield Fault("length", one.path)
        count = len(one.data) // WIDTH[vr]
    else:
        return
    if allowed and (count < least or (most >= 0 and count > most) or (step > 1 and count % step)):
        yield Fault("multiplicity", one.path)


def _order_and_creators(elements: Iterable[Found]) -> set[Fault]:
    faults: set[Fault] = set()
    last: dict[tuple[tuple[Tag, ...], tuple[int, ...]], Tag] = {}
    blocks: set[tuple[tuple[Tag, ...], tuple[int, ...], Tag]] = set()
    for one in elements:
        tag, holder = one.tag, (one.path[:-1], one.item)
        if last.get(holder, -1) >= tag:
            faults.add(Fault("order", one.path))
        last[holder] = tag
        if tag >> 16 & 1:
            number = tag & 0xFFFF
            if 0x10 <= number <= 0xFF:
                blocks.add((*holder, tag))
            elif number >= 0x1000 and (*holder, (tag & 0xFFFF0000) | number >> 8) not in blocks:
                faults.add(Fault("private", one.path))
    return faults


def _meta(file: Reread, top: dict[Tag, Found]) -> set[Fault]:
    meta = {one.tag: one for one in file.meta}
    faults = {
        Fault("meta", (tag,))
        for tag in (META_CLASS, META_INSTANCE, META_SYNTAX)
        if tag not in meta or not meta[tag].data
    }
    for tag, own in ((META_CLASS, SOP_CLASS), (META_INSTANCE, SOP_INSTANCE)):
        if tag in meta and own in top and meta[tag].text() != top[own].text():
            faults.add(Fault("meta", (tag,)))
    return faults
