"""Content items of a structured report (PS3.3 C.17.3): the few value types that TID 1500 needs, as pydicom datasets.

`highdicom` writes TID 1500 too; it is no dependency here, because the report has two dozen items and the rest of the
package (annotations, segmentations, its decoders) would come along.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydicom.dataset import Dataset

CONTAINS, HAS_CONCEPT, HAS_OBSERVATION = "CONTAINS", "HAS CONCEPT MOD", "HAS OBS CONTEXT"
SELECTED, INFERRED = "SELECTED FROM", "INFERRED FROM"


class Code(NamedTuple):
    """A coded concept (PS3.3 8.8)."""

    value: str
    scheme: str
    meaning: str

    def dataset(self) -> Dataset:
        """As an item of a code sequence."""
        made = Dataset()
        made.CodeValue, made.CodingSchemeDesignator, made.CodeMeaning = self
        return made


def item(kind: str, relation: str | None, concept: Code | None, children: Sequence[Dataset] = ()) -> Dataset:
    """A content item of a value type, below another by a relationship; the root has none."""
    made = Dataset()
    if relation is not None:
        made.RelationshipType = relation
    made.ValueType = kind
    if concept is not None:
        made.ConceptNameCodeSequence = [concept.dataset()]
    if children:
        made.ContentSequence = list(children)
    return made


def container(relation: str | None, concept: Code, children: Sequence[Dataset], template: str | None = None) -> Dataset:
    """A CONTAINER, of a template of PS3.16 where it begins one."""
    made = item("CONTAINER", relation, concept, children)
    made.ContinuityOfContent = "SEPARATE"
    if template is not None:
        of = Dataset()
        of.MappingResource, of.TemplateIdentifier = "DCMR", template
        made.ContentTemplateSequence = [of]
    return made


def coded(relation: str, concept: Code, value: Code, children: Sequence[Dataset] = ()) -> Dataset:
    """A CODE."""
    made = item("CODE", relation, concept, children)
    made.ConceptCodeSequence = [value.dataset()]
    return made


def text(relation: str, concept: Code, value: str) -> Dataset:
    """A TEXT."""
    made = item("TEXT", relation, concept)
    made.TextValue = value
    return made


def uid(relation: str, concept: Code, value: str) -> Dataset:
    """A UIDREF."""
    made = item("UIDREF", relation, concept)
    made.UID = value
    return made


def number(relation: str, concept: Code, value: float, unit: Code, children: Sequence[Dataset] = ()) -> Dataset:
    """A NUM."""
    made = item("NUM", relation, concept, children)
    measured = Dataset()
    measured.NumericValue = f"{value:.6g}"
    measured.MeasurementUnitsCodeSequence = [unit.dataset()]
    made.MeasuredValueSequence = [measured]
    return made


def image(relation: str, concept: Code | None, sop_class: str, sop_instance: str) -> Dataset:
    """An IMAGE by reference."""
    made = item("IMAGE", relation, concept)
    of = Dataset()
    of.ReferencedSOPClassUID, of.ReferencedSOPInstanceUID = sop_class, sop_instance
    made.ReferencedSOPSequence = [of]
    return made


def polyline(relation: str, concept: Code, points: Iterable[tuple[float, float]], of: Dataset) -> Dataset:
    """An SCOORD: points as column and row of the image's pixels, its top left corner 0\\0 (PS3.3 C.18.6.1.1)."""
    made = item("SCOORD", relation, concept, [of])
    made.GraphicType = "POLYLINE"
    made.GraphicData = [value for point in points for value in point]
    return made
