"""What a form or a page asks for: a list, a filter, or a version of a frozen cohort. Never repeated in a message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from sluice.cohorts.errors import ExpressionError
from sluice.cohorts.expressions import Expression
from sluice.cohorts.fields import FIELDS
from sluice.cohorts.language import parse, parse_text
from sluice.cohorts.lists import CohortList, add_list, find_list
from sluice.cohorts.promoted import registry_of
from sluice.cohorts.records import ListError
from sluice.cohorts.versions import cohorts, versions
from sluice.database import Database

WORD = re.compile(r"\w+")
# Words of the language besides its fields, and of the sentences that errors are made of.
WORDS = [
    "all",
    "any",
    "not",
    "has",
    "study_has",
    "series_has",
    "patient_has",
    "tag",
    "quality",
    "prediction",
    "body_part",
    "creator",
    "vr",
    "is",
    "min",
    "max",
    "between",
    "above",
    "below",
    "contains",
    "starts",
    "missing",
    "present",
    "from",
    "to",
    "year",
    "last_days",
    "held",
    "rule",
    "severity",
    "task",
    "label",
    "model",
    "score",
    "by",
    "a",
    "an",
    "the",
    "of",
    "in",
    "no",
    "it",
    "there",
    "field",
    "such",
    "did",
    "you",
    "mean",
    "list",
    "lists",
    "empty",
    "text",
    "number",
    "date",
    "mapping",
    "condition",
    "like",
    "line",
    "column",
    "and",
    "or",
    "only",
    "can",
    "stand",
    "here",
]


class CohortRequestError(RuntimeError):
    """The form cannot be understood; the message says which field, and what to write there."""

    permanent = True


@dataclass(frozen=True)
class Wanted:
    """What a form asks for.

    Attributes:
        kind: `list`, `filter` or `version`.
        kept: the list.
        expression: the filter.
        version_id: of the version of a frozen cohort that is to be released as it is; `version` is its number.
    """

    kind: str
    project: str
    name: str
    kept: CohortList | None = None
    expression: Expression | None = None
    version_id: int | None = None
    version: int | None = None

    @property
    def window_key(self) -> str:
        """The window of the cohort; a version that is released as it is has one of its own."""
        return f"cohort/{self.project}/{self.name}" + (f"/v{self.version}" if self.version else "")


def read_form(params: Mapping[str, Any], store: Database, by: str) -> Wanted:
    """What a form asks for; a list in it is kept from now on.

    Args:
        params: `project`, `name`, and one of `csv`, `filter`, `version`, or none for what stands under the name.

    Raises:
        CohortRequestError: nothing, or more than one thing, or what cannot be used.
    """
    project, name = params["project"], params["name"]
    content, text, version = (params.get(field) or "" for field in ("csv", "filter", "version"))
    given = [word for word, value in (("list", content), ("filter", text), ("version", version)) if str(value).strip()]
    if len(given) > 1:
        raise CohortRequestError(f"The form holds a {' and a '.join(given)}. Leave one of them.")
    match given:
        case ["list"]:
            return Wanted("list", project, name, kept=_keep(store, project, name, content, by))
        case ["filter"]:
            return Wanted("filter", project, name, expression=_filter(store, text))
        case ["version"]:
            found = _version(store, project, name, version)
            return Wanted("version", project, name, version_id=found["version_id"], version=found["version"])
    return _standing(store, project, name)


def _keep(store: Database, project: str, name: str, content: str, by: str) -> CohortList:
    try:
        return add_list(store, project, name, BytesIO(content.strip().encode()), "trigger form", by, replace=True)
    except ListError as error:
        raise CohortRequestError(str(error)) from None


def _filter(store: Database, text: str) -> Expression:
    try:
        return parse_text(text, registry_of(store))
    except ExpressionError as error:
        raise CohortRequestError(f"The filter cannot be read. {discreet(str(error), text)}") from None


def discreet(said: str, text: str) -> str:
    """What is said of a text without repeating the text: of its words only those of the language stay. Somebody may
    paste a list of patients where a filter is meant, and what is said goes to a log."""
    known = {word.casefold() for name in (*(field.name for field in FIELDS), *WORDS) for word in WORD.findall(name)}
    typed = {word.casefold() for word in WORD.findall(text)} - known
    return WORD.sub(lambda found: "…" if found[0].casefold() in typed else found[0], said)


def _version(store: Database, project: str, name: str, version: Any = None) -> dict[str, Any]:
    """A version of a frozen cohort, or its newest one."""
    found = [row for row in cohorts(store, project) if row["name"] == name]
    of_number = [row for one in found for row in versions(store, one["cohort_id"]) if version in (None, row["version"])]
    if not of_number:
        what = f"no version {version} of a" if version else "no"
        raise CohortRequestError(f"There is {what} frozen cohort {name!r} of {project}. See the page Cohorts.")
    return of_number[0]


def _standing(store: Database, project: str, name: str) -> Wanted:
    """What stands under the name: a list that was uploaded, or the newest filter that was frozen."""
    kept = find_list(store, project, name)
    frozen = [row for row in cohorts(store, project) if row["name"] == name]
    if kept and frozen:
        raise CohortRequestError(
            f"Both a list and a frozen cohort of {project} are called {name!r}. Fill in the filter or the version, or "
            "upload the list under another name."
        )
    if kept:
        return Wanted("list", project, name, kept=kept)
    if frozen:
        return Wanted("filter", project, name, expression=parse(frozen[0]["expression"], registry_of(store)))
    raise CohortRequestError(
        "Fill in a list, a filter, or the name of what was uploaded or frozen on the page Cohorts: nothing stands "
        f"under {name!r}."
    )
