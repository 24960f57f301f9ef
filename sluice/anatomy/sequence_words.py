"""Words for MR sequence, CT phase, contrast and fat suppression (`sequence_words.csv`), found in a text.

A word counts as whole word, the longest phrase first; only Chinese, which has no spaces, matches anywhere. `T2*`,
`+C`, `C+`, `+KM` and `+Gd` are words although they hold signs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from sluice.anatomy.regions import table
from sluice.anatomy.words import CJK, fold

_STAR = re.compile(r"t2\s?\*")
_PLUS = re.compile(r"\+\s*(?:c|km|gd|gad|gado|kontrast|mdc|k|contrast|contraste|iv)(?![a-z])|(?<![a-z])c\s?\+")
_CUT = re.compile(r"[^\w+]+|_+")
_SPLIT_WEIGHT = re.compile(r"\b(t[12]|pd)\s?w?(?=[a-z])")  # t1sagknee
_WEIGHT_APART = re.compile(r"\bt\s([12])\b")


@dataclass(frozen=True)
class Sign:
    """What a word stands for.

    Attributes:
        kind: `mr`, `ct`, `contrast` or `fat`.
        value, detail: e.g. `T2` and `STIR`.
        span: the words that matched, normalised.
    """

    kind: str
    value: str
    detail: str | None
    span: str


_Latin: TypeAlias = dict[str, dict[str, list[tuple[tuple[str, ...], Sign]]]]  # kind, first word, phrases


@lru_cache(maxsize=1)
def _words() -> tuple[_Latin, dict[str, re.Pattern[str]], dict[tuple[str, str], Sign]]:
    latin: _Latin = {}
    cjk: dict[tuple[str, str], Sign] = {}
    for row in table("sequence_words.csv"):
        sign = Sign(row["kind"], row["value"], row["detail"] or None, row["term"])
        if CJK.search(row["term"]):
            cjk[row["kind"], row["term"].replace(" ", "")] = sign
            continue
        words = _cut(row["term"])
        latin.setdefault(row["kind"], {}).setdefault(words[0], []).append((words, sign))
    for by_first in latin.values():
        for entries in by_first.values():
            entries.sort(key=lambda entry: -len(entry[0]))
    patterns = {}
    for kind in {of for of, _ in cjk}:
        terms = sorted((term for of, term in cjk if of == kind), key=len, reverse=True)
        patterns[kind] = re.compile("|".join(map(re.escape, terms)))
    return latin, patterns, cjk


@lru_cache(maxsize=1024)  # a text is read once for each kind
def _cut(text: str) -> tuple[str, ...]:
    text = fold(text)
    if "*" in text or "+" in text:
        text = _PLUS.sub(" +c ", _STAR.sub("t2star ", text))
    text = _CUT.sub(" ", CJK.sub(" ", text)).replace("+", " +")
    text = _WEIGHT_APART.sub(r"t\1", " ".join(text.split()))
    return tuple(word for word in text.split() if word != "+")


@lru_cache(maxsize=16384)
def signs(text: str, kind: str) -> tuple[Sign, ...]:
    """Signs of one kind in a text, in its order."""
    latin, patterns, cjk = _words()
    entries = latin[kind]
    words = _cut(text)
    found: list[Sign] = []
    at = 0
    while at < len(words):
        for candidate, sign in entries.get(words[at], ()):
            if words[at : at + len(candidate)] == candidate:
                found.append(sign)
                at += len(candidate)
                break
        else:
            if kind == "mr" and (glued := _SPLIT_WEIGHT.match(words[at])):
                found += [sign for candidate, sign in entries.get(glued[1], ()) if len(candidate) == 1]
            at += 1
    if kind in patterns and CJK.search(text):
        found += [cjk[kind, span] for span in patterns[kind].findall(fold(text).replace(" ", ""))]
    return tuple(found)
