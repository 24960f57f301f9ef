"""Which words of a text stand in the place of a name, though they are words of the list: Dr. Hand, Frau Kopf, J. Brown.

A list of words alone lets names through that are words. So each word of the list that is also a surname or a given
name (`name` in `tables/terms.csv`) is kept only where nothing beside it speaks of a person:

* what follows a title goes, and the title with it;
* a capital initial and the capitalised word beside it go;
* anatomy, directions and techniques go beside a capitalised word that no list knows, or one that says who did
  something (reported by, befundet von);
* any other such word stays in lower case only: `white matter`, but not `White`.

What speaks of a person is data as well (`tables/people.csv`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from sluice.deid.tables import table

TOKEN = re.compile(r"\[\.\.\.\]|\d+(?:[.,]\d+)+|[^\W_]+(?:['’-][^\W_]+)*|\n|[^\w\s]|_")
GAP = "[...]"
MODALITY_OR_TITLE = frozenset({"MR", "DR"})
ENDS = frozenset(".;:\n?!")
JOINS = frozenset(",^-'’=&")
LONGEST_NAME = 4  # words behind a title
REACH = 24  # tokens that are looked at behind one


@dataclass(frozen=True, slots=True)
class Word:
    """What the list says of a word."""

    kinds: frozenset[str]
    is_name: bool


def tokens(text: str) -> list[str]:
    """Words, numbers, single signs and line ends of a text."""
    return TOKEN.findall(unicodedata.normalize("NFC", text).replace("\r", "\n"))


@cache
def folded(word: str) -> str:
    """A word as the list writes it: capitals, umlauts in two letters."""
    word = unicodedata.normalize("NFC", word).lower()
    for letter, letters in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("ß", "ss")):
        word = word.replace(letter, letters)
    return word.upper()


@cache
def vocabulary() -> dict[str, Word]:
    """Every word of the list, of descriptions and of reports; those of a person's origin are surnames elsewhere."""
    kinds: dict[str, set[str]] = {}
    names: set[str] = set()
    for row in table("terms"):
        if row["kind"] == "origin":
            continue
        word = row["term"].upper()
        kinds.setdefault(word, set()).add(row["kind"])
        if row["name"]:
            names.add(word)
    return {word: Word(frozenset(of), word in names) for word, of in kinds.items()}


@cache
def _words_of(role: str) -> frozenset[str]:
    return frozenset(row["word"] for row in table("people") if row["role"] == role)


def name_places(words: list[str], *, report: bool) -> frozenset[int]:
    """Positions of tokens that may be (part of) a name.

    Args:
        words: as `tokens` gives them.
        report: running text; else a description, in which `MR` and `DR` at the start are modalities.
    """
    found: set[int] = set()
    for position, word in enumerate(words):
        lower = folded(word).lower()
        if lower in _words_of("title") and not _is_modality(words, position, report):
            found.update(_behind_title(words, position))
        elif lower in _words_of("suffix") and word[:1].isupper() and position and words[position - 1] in ",;":
            found.update(_before(words, position))
        elif _is_initial(words, position):
            found.update(_beside_initial(words, position))
    known = len(found) - 1
    while known < len(found):  # what stands beside a name may be one as well, on either side
        known = len(found)
        for here in (*range(len(words)), *range(len(words) - 1, -1, -1)):
            if here not in found and any(_doubtful(words, here, part, found) for part in _parts(words[here])):
                found.add(here)
    return frozenset(found)


def _is_modality(words: list[str], position: int, report: bool) -> bool:
    """Whether MR or DR is magnetic resonance or digital radiography: in capitals, without a dot, of a body part."""
    if words[position] not in MODALITY_OR_TITLE or words[position + 1 : position + 2] == ["."]:
        return False
    following = next(_words_after(words, position), None)
    known = vocabulary().get(folded(words[following])) if following is not None else None
    of_a_part = known is not None and bool(known.kinds & {"anatomy", "technique"})
    if report:
        of_a_part = (of_a_part and following == position + 1) or words[position + 1 : position + 2] == [GAP]
        return words[position] == "MR" and of_a_part and not _says_who(words, position)
    return position == 0 and (following is None or of_a_part)


def _says_who(words: list[str], position: int) -> bool:
    before = next(_words_before(words, position), None)
    return before is not None and folded(words[before]).lower() in _words_of("attribution")


def _behind_title(words: list[str], position: int) -> Iterator[int]:
    yield position
    taken = 0
    previous = position
    for here in range(position + 1, min(position + REACH, len(words))):
        word = words[here]
        lower = folded(word).lower()
        abbreviates = word == "." and previous == here - 1 and _short_or_title(words[previous])
        if not (abbreviates or word in JOINS or lower in _words_of("particle") or lower in _words_of("title")):
            ends = not word[0].isalpha() or taken == LONGEST_NAME
            if ends or (taken and not _may_be_name(word)):
                return
            taken += 1
        yield here
        previous = here


def _short_or_title(word: str) -> bool:
    return len(word) == 1 or folded(word).lower() in _words_of("title")


def _before(words: list[str], position: int) -> Iterator[int]:
    yield position
    for here in range(position - 1, max(position - 6, -1), -1):
        word = words[here]
        if word not in JOINS and word != "." and not _may_be_name(word):
            return
        yield here


def _is_initial(words: list[str], position: int) -> bool:
    word = words[position]
    return len(word) == 1 and word.isalpha() and word.isupper() and words[position + 1 : position + 2] == ["."]


def _beside_initial(words: list[str], position: int) -> Iterator[int]:
    """The initial, and the capitalised words on both sides that may be names."""
    yield position
    for step in (-1, 1):
        here = position + step
        while 0 <= here < len(words) and abs(here - position) <= 6:
            word = words[here]
            if word in JOINS or (word == "." and (here - 1 < 0 or len(words[here - 1]) == 1)):
                here += step
                continue
            if not (word[0].isalpha() and (len(word) == 1 or _may_be_name(word))):
                break
            yield here
            here += step


def _may_be_name(word: str) -> bool:
    """A capitalised word that is a name, or that no list knows."""
    if not word[0].isupper() and not (word[0].isalpha() and word.lower() == word.upper()):
        return False
    known = vocabulary().get(folded(word))
    return known is None or known.is_name


def _doubtful(words: list[str], position: int, word: str, found: set[int]) -> bool:
    """Whether a word of the list that is also a name may be one here."""
    known = vocabulary().get(folded(word))
    if known is None or not known.is_name or "function" in known.kinds:
        return False
    neighbours = [*_words_after(words, position), *_words_before(words, position)]
    beside = [words[here] for here in neighbours]
    if any(folded(one).lower() in _words_of("attribution") for one in beside) and word[0].isupper():
        return True
    if word[0].islower():
        return False
    if not known.kinds & {"anatomy", "technique"}:
        return True
    return any(here in found or _is_unknown(words[here]) for here in neighbours)


def _parts(word: str) -> list[str]:
    """A word, or the words that hyphens join to it: Hand-Brown is as much a name as Hand Brown."""
    return [word] if "-" not in word or folded(word) in vocabulary() else word.split("-")


def _is_unknown(word: str) -> bool:
    return any(
        part.isalpha() and len(part) > 1 and part[0].isupper() and folded(part) not in vocabulary()
        for part in _parts(word)
    )


def _words_after(words: list[str], position: int) -> Iterator[int]:
    """Position of the next word of the same sentence, if there is one."""
    for here in range(position + 1, len(words)):
        if words[here] in ENDS or words[here] == GAP:
            return
        if words[here][0].isalnum():
            yield here
            return


def _words_before(words: list[str], position: int) -> Iterator[int]:
    for here in range(position - 1, -1, -1):
        if (words[here] in ENDS and words[here] != ":") or words[here] == GAP:
            return
        if words[here][0].isalnum():
            yield here
            return
