"""Words as they stand in headers: normalised, cut, and told apart (side, view, technique, body part)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from sluice.anatomy.regions import Meaning, synonyms

_CJK = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0002ffff]")
_SEPARATORS = re.compile(r"[^\w?\ufffd]+|_+")
_LATIN_BESIDE_CJK = re.compile(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])")
_ELISIONS = re.compile(r"\b[dlDL]['’]")
_DAMAGE = re.compile(r"[?\ufffd]")

# Phrases whose words are no body part here. Patient positions (head first), devices (c arm), equipment.
NEUTRAL = (
    "head first", "feet first", "foot first", "headfirst", "feetfirst", "kopf voran", "fuss voran", "fusse voran",
    "fuesse voran", "tete en avant", "tete premiere", "pieds en avant", "pieds premiers", "entra di piedi",
    "entra di testa", "cabeza primero", "pies primero", "c arm", "carm", "hand held", "handheld", "head holder",
    "head coil", "neck coil", "head neck coil", "body coil", "knee coil", "spine coil", "left hand side",
    "right hand side", "hand injection", "hip prosthesis protocol",
)  # fmt: skip

_LEFT = (
    "left", "lt", "links", "linke", "linker", "linkes", "gauche", "izquierdo", "izquierda", "izq", "sinistra",
    "sinistro", "sx", "esquerdo", "esquerda", "esq", "linkse",
)  # fmt: skip
_RIGHT = (
    "right", "rt", "rechts", "rechte", "rechter", "rechtes", "droite", "droit", "derecho", "derecha", "destra",
    "destro", "dx", "direito", "direita", "rechtse",
)  # fmt: skip
_BOTH = (
    "bilateral", "bilat", "both", "bds", "beidseits", "beidseitig", "beide", "bilaterale", "bilateraux",
    "bilaterales", "ambos", "ambas", "entrambi", "beiderseits", "lr", "rl",
)  # fmt: skip
SIDES = {**dict.fromkeys(_LEFT, "L"), **dict.fromkeys(_RIGHT, "R"), **dict.fromkeys(_BOTH, "B")}
# Abbreviations yield to a word written out (`l` is a French article too) …
SHORT_SIDES = {"l": "L", "li": "L", "r": "R", "re": "R"}
# … and these count only at the end or beginning of a text: `der` is German for `the`.
EDGE_SIDES = {"der": "R", "dir": "R"}
CJK_SIDES = (("双侧", "B"), ("双", "B"), ("两侧", "B"), ("左", "L"), ("右", "R"))

VIEWS = {
    "ap": "AP", "pa": "PA", "lat": "LAT", "lateral": "LAT", "laterale": "LAT", "laterolateral": "LAT", "ll": "LL",
    "rl": "RL", "seitlich": "LAT", "seitl": "LAT", "profil": "LAT", "perfil": "LAT", "frontal": "FRONTAL",
    "frontale": "FRONTAL", "oblique": "OBL", "obl": "OBL", "oblicua": "OBL", "obliqua": "OBL", "obliquo": "OBL",
    "schrag": "OBL", "schraeg": "OBL", "axial": "AXIAL", "axiale": "AXIAL", "tangential": "TAN", "llo": "LLO",
    "rlo": "RLO", "lao": "LAO", "rao": "RAO", "lpo": "LPO", "rpo": "RPO", "mlo": "MLO", "cc": "CC", "dv": "DV",
    "decubitus": "DECUB",
}  # fmt: skip
CJK_VIEWS = (("正侧位", None), ("正位", "FRONTAL"), ("侧位", "LAT"), ("斜位", "OBL"), ("轴位", "AXIAL"))

# Words that may stand beside a body part without changing it.
TECHNIQUE = frozenset(
    """
    xr cr dx rx rg rf ct mr mri us mg pt nm dr x ray xray rontgen roentgen ro rad radio radiografia radiographie
    radiograph radiography rxt port portable mobile bedside bett view views v vw standing stehend debout erect
    supine upright sitting weightbearing wb trauma routine std standard pediatric paediatric child adult kind face
    de des du la le les del della da do dell the of and und et y e with without mit ohne con sin avec sans
    contrast kontrast nativ native plain scan protocol min max ebenen ebene
    """.split()  # noqa: SIM905 - a list of a hundred quoted words is unreadable
)
BESIDE = TECHNIQUE.union(SIDES, SHORT_SIDES, EDGE_SIDES, VIEWS)
HISTORY = frozenset({"history", "hx", "anamnese", "zn", "antecedents", "antecedentes", "anamnesi"})
# Without their accent these mean something else as well: pulmonary embolism.
NEED_ACCENT = frozenset({"pe", "pes"})
_SUFFIXES = re.compile(r"(?:aufnahmen?|ubersicht|uebersicht|rontgen|roentgen)$")


def normalise(text: str) -> str:
    """Compatibility form, case and diacritics removed (ß becomes ss), separators one space each."""
    text = _ELISIONS.sub(" ", text)
    if not text.isascii():
        text = _unscramble(text)
        text = unicodedata.normalize("NFKC", text).casefold()
        text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    else:
        text = text.lower()
    return " ".join(_LATIN_BESIDE_CJK.sub(" ", _SEPARATORS.sub(" ", text)).split())


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


@dataclass(frozen=True)
class Words:
    """What one text says."""

    matches: tuple[Match, ...]  # the best first
    side: str | None
    view: str | None


class Lexicon:
    """All words for body parts, compiled for look-up."""

    def __init__(self) -> None:
        self.exact: dict[str, Meaning] = {}
        self.first_word: dict[str, list[tuple[tuple[str, ...], Meaning | None]]] = {}
        self.cjk: dict[str, Meaning] = {}
        coarse: set[str] = set()  # `low exm` is a lower limb, whatever part a list guesses
        for term, only_by_itself, meaning in synonyms():
            key = normalise(term)
            if _CJK.search(key):
                self.cjk[key.replace(" ", "")] = meaning
                continue
            if meaning.weak:
                coarse.add(key)
                self.exact[key] = meaning
            self.exact.setdefault(key, meaning)
            if not only_by_itself:
                words = tuple(key.split())
                self.first_word.setdefault(words[0], []).append((words, meaning))
        for phrase in NEUTRAL:
            words = tuple(phrase.split())
            self.first_word.setdefault(words[0], []).append((words, None))
        for first, entries in self.first_word.items():
            self.first_word[first] = entries = [entry for entry in entries if " ".join(entry[0]) not in coarse]
            entries.sort(key=lambda entry: -len(entry[0]))
        ordered = sorted(self.cjk, key=len, reverse=True)
        self.cjk_pattern = re.compile("|".join(map(re.escape, ordered)))

    def read(self, text: str) -> Words:
        """Body parts, side and view of one text."""
        key = normalise(text)
        if not key:
            return Words((), None, None)
        words = key.split()
        found, rest = self._latin(words)  # what a part's name consumed is no side and no view
        side = _side(words, rest)
        view = _one([VIEWS[word] for word in rest if word in VIEWS])
        plain = [word for word in rest if word not in BESIDE and not word.isdigit()]
        if HISTORY.intersection(words):
            side = None
        matches = [Match(meaning, span, not plain) for meaning, span in found]
        if _CJK.search(key):
            cjk = self._cjk(key)
            matches += cjk
            side = side or next((sign for mark, sign in CJK_SIDES if mark in key), None)
            view = view or next((sign for mark, sign in CJK_VIEWS if mark in key), None)
        if not matches:
            whole = self._whole(key, plain, text)
            matches = [whole] if whole else self._damaged(words)
        matches.sort(key=lambda match: (match.meaning.weak, -len(match.span)))
        return Words(tuple(matches), side, view)

    def _latin(self, words: list[str]) -> tuple[list[tuple[Meaning, str]], list[str]]:
        found: list[tuple[Meaning, str]] = []
        rest: list[str] = []
        position = 0
        while position < len(words):
            word = words[position]
            entries = self.first_word.get(word)
            if entries is None and len(word) > 8:
                entries = self.first_word.get(_SUFFIXES.sub("", word))
            for candidate, meaning in entries or ():
                length = len(candidate)
                if length == 1 or tuple(words[position + 1 : position + length]) == candidate[1:]:
                    if meaning is not None:
                        found.append((meaning, " ".join(candidate)))
                    position += length
                    break
            else:
                rest.append(word)
                position += 1
        return found, rest

    def _cjk(self, key: str) -> list[Match]:
        joined = key.replace(" ", "")
        return [Match(self.cjk[span], span, True) for span in self.cjk_pattern.findall(joined)]

    def _whole(self, key: str, plain: list[str], text: str) -> Match | None:
        for candidate in (key, " ".join(plain)):
            meaning = self.exact.get(candidate)
            if meaning is not None and (candidate not in NEED_ACCENT or not text.isascii()):
                return Match(meaning, candidate, True, ambiguous=key == candidate and candidate not in self.first_word)
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
    for sides in (SIDES, SHORT_SIDES):
        found = _one([sides[word] for word in rest if word in sides])
        if found:
            return found
    for word in (words[-1], words[0]):
        if word in EDGE_SIDES and word in rest and len(words) > 1:
            return EDGE_SIDES[word]
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


@lru_cache(maxsize=16384)
def read_words(text: str) -> Words:
    """What a text says; a hospital repeats itself, so answers are remembered."""
    return lexicon().read(text)
