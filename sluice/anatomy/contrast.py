"""Whether contrast medium was given, as words and the contrast elements say."""

from __future__ import annotations

from collections.abc import Mapping

from sluice.anatomy.finding import Elements, Finding, first_text, items, said_in, tag_text
from sluice.anatomy.sequence_words import signs
from sluice.anatomy.words import fold

AGENT, ROUTE, AGENTS, VOLUME, DOSE = 0x00180010, 0x00181040, 0x00180012, 0x00181041, 0x00181044
CONTRAST_TAGS = frozenset({AGENT, ROUTE, AGENTS, VOLUME, DOSE})
_NOT_GIVEN = frozenset("none no nein keine non sans ohne nativ n/a na 0 sin senza sem nee geen 无".split())  # noqa: SIM905
_NOT_IN_VESSELS = ("oral", "po", "per os", "rectal", "rektal", "enteral", "intraarticular", "口服")


def contrast_in_words(elements: Elements, sources: Mapping[int, float]) -> Finding:
    """`yes` or `no` by the first source that says one of them; `mit und ohne` says nothing."""
    for tag, text, confidence in said_in(elements, sources):
        found = [sign for sign in signs(text, "contrast") if sign.value != "nothing"]
        values = {sign.value for sign in found}
        if len(values) == 1 and values <= {"yes", "no"}:
            return Finding(found[0].value, found[0].span, tag_text(tag), confidence)
    return Finding()


def contrast_given(elements: Elements) -> Finding:
    """`yes` where Contrast/Bolus Agent names one that went into a vessel, as far as Route says.

    Scanners copy the agent from the protocol, and keep it for series before the injection: no proof.
    """
    agent = first_text(elements.get(AGENT))
    route = first_text(elements.get(ROUTE))
    if not agent:
        for item in items(elements.get(AGENTS)):
            agent = first_text(item.get("00080104"))
            route = route or _route(item)
    words = fold(f"{agent} {route}")
    if not agent or fold(agent) in _NOT_GIVEN or any(word in words.split() for word in _NOT_IN_VESSELS):
        return Finding()
    return Finding("yes", fold(agent)[:64], tag_text(AGENT), 0.65)


def _route(item: Mapping[str, Mapping[str, object]]) -> str:
    for route in items(item.get("00180014")):
        return first_text(route.get("00080104"))
    return ""
