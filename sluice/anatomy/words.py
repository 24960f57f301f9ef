"""Words as they stand in headers: normalised, cut, and told apart (side, view, technique, body part)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from sluice.anatomy.qualifiers import SEVERAL, qualifiers
from sluice.anatomy.regions import Meaning, synonyms

CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0002ffff]")
_CJK_SIDE = re.compile("[左右双]")
_SEPARATORS = re.compile(r"[^\w?\ufffd]+|_+")
_LATIN_BESIDE_CJK = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_ELISIONS = re.compile(r"\b[dlDL]['’]")
_DAMAGE = re.compile(r"[?\ufffd]")

# Without their accent these mean something else as well: pulmonary embolism, a vehicle.
NEED_ACCENT = frozenset({"pe", "pes", "bus"})
_SUFFIXES = re.compile(
    r"(?:(?:ganz|ziel|uebersichts|ubersichts)?aufnahmen?|ubersicht|uebersicht|rontgen|roentgen|overzicht|opname|serie)$"
)


def normalise(text: str) -> str:
    """Compatibility form, case and diacritics removed (ß becomes ss), separators one space each."""
    return " ".join(_LATIN_BESIDE_CJK.sub(" ", _SEPARATORS.sub(" ", fold(_ELISIONS.sub(" ", text)))).split())


def fold(text: str) -> str:
    """Compatibility form, case and diacritics removed (ß becomes ss)."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", _unscramble(text)).casefold()
    return "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))


def _unscramble(text: str) -> str:
    """Undo UTF-8 that was read as Latin-1 (`SchÃ¤del`)."""
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


@dataclass(frozen=True)
class Match:
    """A body part found in a text.

    Attributes:
        span: the words that matched, normalised.
        whole: nothing but side, view and technique stood beside it.
        damaged: a character of it was lost to a wrong character set.
        ambiguous: the word counts only by itself and nothing stood beside it (`main`).
    """

    meaning: Meaning
    span: str
    whole: bool
    damaged: bool = False
    ambiguous: bool = False
    languages: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Words:
    """What one text says."""

    matches: tuple[Match, ...]  # the best first
    side: str | None
    view: str | None


_Entry: TypeAlias = tuple[tuple[str, ...], Meaning | None, frozenset[str]]  # words, meaning, languages


class Lexicon:
    """All words for body parts, compiled for look-up."""

    def __init__(self) -> None:
        self.beside = qualifiers()
        self.exact: dict[str, Meaning] = {}
        self.first_word: dict[str, list[_Entry]] = {}
        self.cjk: dict[str, Meaning] = {}
        languages: dict[str, set[str]] = {}
        coarse: set[str] = set()  # `low exm` is a lower limb, whatever part a list guesses
        self.anywhere: dict[str, Meaning] = {}
        for term, language, only_by_itself, meaning in synonyms():
            key = normalise(term)
            if CJK.search(key):
                self.cjk.setdefault(_CJK_SIDE.sub("", key.replace(" ", "")), meaning)
                continue
            languages.setdefault(key, set()).add(language)
            if meaning.weak:
                coarse.add(key)
                self.exact[key] = meaning
            self.exact.setdefault(key, meaning)
            if not only_by_itself:
                self.anywhere.setdefault(key, meaning)
        for key, meaning in self.anywhere.items():
            if key not in coarse:
                words = tuple(key.split())
                self.first_word.setdefault(words[0], []).append((words, meaning, frozenset(languages[key])))
        for phrase in self.beside.neutral:
            if CJK.search(phrase):
                continue
            words = tuple(phrase.split())
            self.first_word.setdefault(words[0], []).append((words, None, frozenset()))
        for entries in self.first_word.values():
            entries.sort(key=lambda entry: -len(entry[0]))
        neutral = [phrase for phrase in self.beside.neutral if CJK.search(phrase)]
        ordered = sorted([*self.cjk, *neutral], key=len, reverse=True)
        self.cjk_pattern = re.compile("|".join(map(re.escape, ordered)))

    def read(self, text: str) -> Words:
        """Body parts, side and view of one text."""
        key = normalise(text)
        if not key:
            return Words((), None, None)
        words = key.split()
        found, rest = self._latin(words)  # what a part's name consumed is no side and no view
        plain = [word for word in rest if word not in self.beside.beside and not word.isdigit()]
        matches = [
            Match(meaning, " ".join(span), not plain, languages=languages)
            for span, meaning, languages in found
            if meaning
        ]
        languages = frozenset().union(*(match.languages for match in matches))
        side = _side(words, rest) or self._letter_side(words, rest, languages, text.isascii())
        view = self._view(rest, languages)
        if self.beside.history.intersection(words):
            side = None
        if CJK.search(key):
            matches += self._cjk(key)
            side = side or next((sign for mark, sign in self.beside.cjk_sides if mark in key), None)
            view = view or self._cjk_view(key)
        if not matches:
            whole = self._whole(key, plain, text)
            matches = [whole] if whole else self._damaged(words)
        matches.sort(key=lambda match: match.meaning.weak)
        return Words(tuple(matches), side, view)

    def _latin(self, words: list[str]) -> tuple[list[_Entry], list[str]]:
        found: list[_Entry] = []
        rest: list[str] = []
        position = 0
        while position < len(words):
            word = words[position]
            entries = self.first_word.get(word)
            if entries is None and len(word) > 8:
                entries = self.first_word.get(_SUFFIXES.sub("", word))
            for entry in entries or ():
                length = len(entry[0])
                if length == 1 or tuple(words[position + 1 : position + length]) == entry[0][1:]:
                    found.append(entry)
                    position += length
                    break
            else:
                rest.append(word)
                position += 1
        return found, rest

    def _letter_side(
        self, words: list[str], rest: list[str], languages: frozenset[str], ascii_only: bool
    ) -> str | None:
        """`Genou D`: a letter beside a part that is named in a language in which it is a side.

        `d` and `g` count, but not in `3 D`. Others are words of these languages too (Portuguese `e`, Spanish `sin`), so
        they count only right behind the part and with nothing but a view behind them, and where the part's name is not
        English as well.
        """
        signs = []
        for at, word in enumerate(words):
            if word not in self.beside.letter_sides or word not in rest:
                continue
            by_language = self.beside.letter_sides[word]
            sign = next((by_language[one] for one in languages if one in by_language), None)
            if sign is None or (at and words[at - 1] in ("2", "3", "4")):
                continue
            behind = words[at + 1] if at + 1 < len(words) else ""
            allowed = self.beside.views if len(word) == 1 or "es" in languages else self.beside.beside
            sure = at and words[at - 1] not in rest and (not behind or behind in allowed)
            if word in "dg" or (sure and ("en" not in languages or not ascii_only)):
                signs.append(sign)
        return _one(signs)

    def _view(self, rest: list[str], languages: frozenset[str]) -> str | None:
        signs = []
        if not self.beside.phrase_starts.isdisjoint(rest):
            line = f" {' '.join(rest)} "
            for phrase, named in self.beside.view_phrases:
                if f" {phrase} " in line:
                    signs.append(named)
                    line = line.replace(f" {phrase} ", "  ")
            rest = line.split()
        for word in rest:
            if view := self.beside.views.get(word):
                signs.append(view)
            elif word in self.beside.views_after:
                by_language = self.beside.views_after[word]
                signs += [by_language[one] for one in languages if one in by_language][:1]
        return None if SEVERAL in signs else _one(signs)

    def _cjk_view(self, key: str) -> str | None:
        view = next((sign for mark, sign in self.beside.cjk_views if mark in key), None)
        return None if view == SEVERAL else view

    def _cjk(self, key: str) -> list[Match]:
        spans = self.cjk_pattern.findall(_CJK_SIDE.sub("", key.replace(" ", "")))  # 左手指 is a finger
        return [Match(self.cjk[span], span, True) for span in spans if span in self.cjk]

    def _whole(self, key: str, plain: list[str], text: str) -> Match | None:
        for candidate in (key, " ".join(plain)):
            meaning = self.exact.get(candidate)
            if meaning is not None and (candidate not in NEED_ACCENT or not text.isascii()):
                return Match(meaning, candidate, True, ambiguous=key == candidate and candidate not in self.anywhere)
        return None

    def _damaged(self, words: list[str]) -> list[Match]:
        """Words with a lost character, where only one region fits (`Sch?del`)."""
        matches = []
        for word in words:
            if len(word) < 5 or not _DAMAGE.search(word.strip("?")):
                continue
            pattern = re.compile(_DAMAGE.sub("\0", word).replace("\0", ".{1,2}"))
            fitting = {entries[0][1] for first, entries in self.first_word.items() if pattern.fullmatch(first)}
            meanings = {meaning for meaning in fitting if meaning is not None}
            if len(meanings) == 1:
                matches.append(Match(meanings.pop(), word, False, damaged=True))
        return matches


def _side(words: list[str], rest: list[str]) -> str | None:
    """The side that the words left over say."""
    for sides in (qualifiers().sides, qualifiers().short_sides):
        found = _one([sides[word] for word in rest if word in sides])
        if found:
            return found
    for word in (words[-1], words[0]):
        sign = qualifiers().edge_sides.get(word)
        if sign and word in rest and len(words) > 1:
            return sign
    return None


def _one(signs: list[str]) -> str | None:
    """The sign, if all agree; left and right together are both."""
    distinct = set(signs)
    if len(distinct) == 1:
        return signs[0]
    return "B" if distinct and distinct <= {"L", "R", "B"} else None


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """The words, compiled once."""
    return Lexicon()


@lru_cache(maxsize=4096)
def read_words(text: str) -> Words:
    """What a text says."""
    return lexicon().read(text)
