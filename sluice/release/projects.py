"""Projects: who gets which images, de-identified how. One reviewed YAML file each, in `settings().projects`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from sluice.cohorts.errors import ExpressionError
from sluice.cohorts.expressions import AllOf, Expression, sensitive_names
from sluice.cohorts.language import as_json, parse
from sluice.cohorts.plain_yaml import load
from sluice.deid.pixels.policy import PixelPolicy
from sluice.deid.profile import PRESETS, Profile, fault_of_options
from sluice.settings import settings


class ProjectError(RuntimeError):
    """A project cannot be used; the message says what to do."""


def _expression(given: Any) -> Expression:
    try:
        return parse(given)
    except ExpressionError as error:
        raise PydanticCustomError("expression", "{faults}", {"faults": str(error)}) from None


Filter = Annotated[Expression, PlainValidator(_expression), PlainSerializer(as_json)]


class Project(BaseModel):
    """A release project.

    Attributes:
        name: as in bucket keys and the file's name.
        profile: a preset of `sluice.deid.profile`.
        options: of PS3.15 beside the preset's, e.g. `clean_structured_content`; `basic` with options is any profile.
        selection: what it asks for, in the filter language (docs/cohorts.md).
        may_see: what it may see at all, likewise; everything where none is given.
        may_use_identifiers: whether its cohorts may be filtered by what identifies patients, like lists of Patient IDs.
        bucket: where releases go, as `<name>/v<N>/`.
        pseudonym_prefix: of patients' pseudonyms in this project.
        approval: how many persons approve a release before it is published (docs/review.md).
        approvers: who may, by their names in Airflow; whoever may answer its requests where none are named.
        pixels: what is done about text and faces in pixels (docs/pixels.md).
        date_shift: of patients that are new in the project: by any number of days, or by whole weeks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,39}$")]
    title: str
    profile: str
    options: tuple[str, ...] = ()
    selection: Filter
    may_see: Filter = AllOf(())
    may_use_identifiers: bool = False
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    pseudonym_prefix: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{1,7}$")]
    approval: Literal["none", "one", "two"] = "one"
    approvers: tuple[str, ...] = ()
    pixels: PixelPolicy = PixelPolicy()
    date_shift: Literal["days", "weeks"] = "days"

    @field_validator("profile")
    @classmethod
    def _is_preset(cls, value: str) -> str:
        if value not in PRESETS:
            raise ValueError(f"use one of: {', '.join(PRESETS)}")
        return value

    @model_validator(mode="after")
    def _options_are_legal(self) -> Self:
        fault = fault_of_options((*PRESETS[self.profile], *self.options))
        if fault:
            raise PydanticCustomError("options", "options: {fault}", {"fault": fault})
        return self

    @property
    def released(self) -> Expression:
        """What may be released: selected, and within what the project may see."""
        return self.selection if self.may_see == AllOf(()) else AllOf((self.selection, self.may_see))

    @model_validator(mode="after")
    def _no_identifiers(self) -> Self:
        names = [] if self.may_use_identifiers else sensitive_names(self.selection)
        if names:
            raise PydanticCustomError(
                "identifiers",
                "selection: {names} identifies patients; write may_use_identifiers: true if that is approved",
                {"names": ", ".join(names)},
            )
        return self

    @property
    def shifts_whole_weeks(self) -> bool:
        """Whether dates move by multiples of 7 days, so that weekdays stay."""
        return self.date_shift == "weeks"

    def deid_profile(self) -> Profile:
        """The de-identification profile."""
        if not self.options:
            return Profile.preset(self.profile)
        return Profile(f"{self.profile} with options", (*PRESETS[self.profile], *self.options))


def load_project(name: str, folder: Path | None = None) -> Project:
    """Read and validate a project.

    Args:
        folder: of the YAML files; `settings().projects` when None.

    Raises:
        ProjectError: no such project, or its file is wrong.
    """
    folder = folder or settings().projects
    path = folder / f"{name}.yaml"
    if path.parent != folder or not path.is_file():
        raise ProjectError(
            f"There is no project {name!r} in {folder}. Projects there: {', '.join(project_names(folder)) or 'none'}."
        )
    try:
        project = Project.model_validate(load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ProjectError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        faults = "; ".join(": ".join([*map(str, fault["loc"]), fault["msg"]]) for fault in error.errors())
        raise ProjectError(f"{path} is no valid project. {faults}") from error
    except ValueError as error:  # an impossible date, or bytes that are no UTF-8
        raise ProjectError(f"{path} is no YAML: {error}") from error
    if project.name != name:
        raise ProjectError(f"{path} calls its project {project.name!r}. Name and file name must agree.")
    return project


def project_names(folder: Path | None = None) -> list[str]:
    """Names of the projects that have a file."""
    return sorted(path.stem for path in (folder or settings().projects).glob("*.yaml"))
