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

PUBLIC = "public"  # the preset for what everybody may have


class ProjectError(RuntimeError):
    """A project cannot be used; the message says what to do."""


def _expression(given: Any) -> Expression:
    try:
        return parse(given)
    except ExpressionError as error:
        raise PydanticCustomError("expression", "{faults}", {"faults": str(error)}) from None


Filter = Annotated[Expression, PlainValidator(_expression), PlainSerializer(as_json)]


class Recipient(BaseModel):
    """Who holds copies of a project's releases, and is told when something of them is recalled."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=200)]
    contact: Annotated[str, Field(min_length=1, max_length=200)] | None = None


class Quota(BaseModel):
    """How much a project may ask for; None is no limit. An engineer can let one request pass above it.

    Attributes:
        instances_per_request, bytes_per_request: of one request, as estimated.
        instances_per_month, bytes_per_month: of all its requests of the last 30 days together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    instances_per_request: Annotated[int, Field(gt=0)] | None = None
    bytes_per_request: Annotated[int, Field(gt=0)] | None = None
    instances_per_month: Annotated[int, Field(gt=0)] | None = None
    bytes_per_month: Annotated[int, Field(gt=0)] | None = None


class Anonymity(BaseModel):
    """What is asked of a project's tables; `sluice.release.anonymity` counts.

    Attributes:
        k: persons that have to share each combination of sex, age band, year, scanner and body part. 11 is the least
            cell that US agencies (CMS) publish; 5 and 10 are usual elsewhere.
        policy: where fewer do: `report` says so, `generalise` makes the tables coarser until enough do, `suppress`
            leaves the rare values out of the tables, `hold` publishes nothing.
        files: what the DICOM files say of persons who are rarer than k: `keep` what the profile keeps, or `mask` sex,
            age, size, weight and the like in them, too (`sluice.release.masks`).
        rare: patients below which the page Review calls a retained string rare.
        share: of persons that may be in rare classes before `generalise` makes the tables coarser.
        age_band, year_band: years in the finest band of ages, and of study dates.
        shown: classes, the rarest first, that the page Review shows; none of them is in the manifest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    k: Annotated[int, Field(ge=2, le=1000)] = 11
    policy: Literal["report", "generalise", "suppress", "hold"] = "report"
    files: Literal["keep", "mask"] = "keep"
    rare: Annotated[int, Field(ge=2, le=1000)] = 5
    share: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    age_band: Annotated[int, Field(ge=1, le=20)] = 5
    year_band: Annotated[int, Field(ge=1, le=20)] = 1
    shown: Annotated[int, Field(ge=0, le=1000)] = 20

    @property
    def bounds(self) -> dict[str, Any]:
        """What is counted by, as the report and the manifest name it."""
        return self.model_dump(include={"rare", "share", "age_band", "year_band", "shown"})

    @property
    def decided(self) -> dict[str, Any]:
        """What makes another version of a release: `k` and `policy` always, the rest where it is not the default, so
        that releases from before there were bounds stay the same."""
        return self.model_dump(include={"k", "policy"}) | self.model_dump(
            exclude_defaults=True, exclude={"k", "policy"}
        )


class Project(BaseModel):
    """A release project.

    Attributes:
        name: as in bucket keys and the file's name.
        profile: a preset of `sluice.deid.profile`.
        profiles: presets that who asks for a cohort may choose among, `profile` first or not; it alone where none are
            named (docs/self-service.md).
        options: of PS3.15 beside the preset's, e.g. `clean_structured_content`; `basic` with options is any profile.
            They go with whichever preset is chosen.
        selection: what it asks for, in the filter language (docs/cohorts.md).
        may_see: what it may see at all, likewise; everything where none is given.
        may_use_identifiers: whether its cohorts may be filtered by what identifies patients, like lists of Patient IDs.
        bucket: where releases go, as `<name>/v<N>/`.
        pseudonym_prefix: of patients' pseudonyms in this project.
        approval: how many persons approve a release before it is published (docs/review.md).
        approvers: who may, by their names in Airflow; whoever may answer its requests where none are named.
        researchers: who may ask for its cohorts, by their names in Airflow; `*` is everybody of the role researcher.
        quota: how much it may ask for.
        recipients: who has to delete what is recalled, within `recall_days`.
        formats: what is made besides DICOM, which is always there: `png`, `nifti`, `tables`, `labels`;
            docs/releases.md.
        anonymity: how many persons have to share what the tables say of one, and what happens where fewer do.
        pixels: what is done about text and faces in pixels (docs/pixels.md).
        date_shift: of patients that are new in the project: by any number of days, or by whole weeks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,39}$")]
    title: str
    profile: str
    profiles: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    selection: Filter
    may_see: Filter = AllOf(())
    may_use_identifiers: bool = False
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    pseudonym_prefix: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{1,7}$")]
    approval: Literal["none", "one", "two"] = "one"
    approvers: tuple[str, ...] = ()
    researchers: tuple[str, ...] = ()
    quota: Quota = Quota()
    recipients: tuple[Recipient, ...] = ()
    recall_days: Annotated[int, Field(ge=1, le=365)] = 14
    formats: tuple[Literal["dicom", "png", "nifti", "tables", "labels"], ...] = ("dicom",)
    anonymity: Anonymity = Anonymity()
    pixels: PixelPolicy = PixelPolicy()
    date_shift: Literal["days", "weeks"] = "days"

    @field_validator("profile")
    @classmethod
    def _is_preset(cls, value: str) -> str:
        if value not in PRESETS:
            raise ValueError(f"use one of: {', '.join(PRESETS)}")
        return value

    @field_validator("formats")
    @classmethod
    def _has_dicom(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "dicom" not in value or len(set(value)) < len(value):
            raise ValueError("name each format once, and dicom among them: the others are made of it")
        return value

    @model_validator(mode="after")
    def _profiles_are_presets(self) -> Self:
        fault = self._fault_of_profiles()
        if fault:
            raise PydanticCustomError("profiles", "profiles: {fault}", {"fault": fault})
        return self

    def _fault_of_profiles(self) -> str | None:
        unknown = sorted(set(self.profiles) - set(PRESETS))
        if unknown:
            return f"there is no {', '.join(unknown)}; use any of: {', '.join(PRESETS)}"
        if len(set(self.profiles)) != len(self.profiles):
            return "name each once"
        if self.profiles and self.profile not in self.profiles:
            return f"{self.profile}, the profile where nobody chooses, has to be among them"
        if PUBLIC in self.profiles and len(self.profiles) > 1:
            return (
                f"{PUBLIC} cannot stand beside others: a project's pseudonyms are the same under all its profiles, so "
                "whoever has both could join them. Make the public release a project of its own"
            )
        return None

    @model_validator(mode="after")
    def _options_are_legal(self) -> Self:
        for preset in self.allowed_profiles:
            own = preset == self.profile  # what this one has already was written by mistake; another may have it
            fault = fault_of_options((*PRESETS[preset], *self.options) if own else self._options_with(preset))
            if fault:
                raise PydanticCustomError(
                    "options", "options: {fault}", {"fault": f"with {preset}: {fault}" if self.profiles else fault}
                )
        return self

    @model_validator(mode="after")
    def _claims_what_a_person_saw(self) -> Self:
        if self.pixels.claim and self.approval == "none":
            raise PydanticCustomError(
                "claim",
                "pixels.claim: true needs approval: one or two. A search that finds nothing proves nothing: a person "
                "has to have looked",
            )
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

    def admits(self, researcher: str) -> bool:
        """Whether a researcher may ask for its cohorts."""
        return "*" in self.researchers or researcher in self.researchers

    @property
    def shifts_whole_weeks(self) -> bool:
        """Whether dates move by multiples of 7 days, so that weekdays stay."""
        return self.date_shift == "weeks"

    @property
    def allowed_profiles(self) -> tuple[str, ...]:
        """Presets that its releases may be made with."""
        return self.profiles or (self.profile,)

    def under(self, preset: str | None) -> Self:
        """The project with another of its profiles as the one that releases are made with; None: as it is.

        Raises:
            ProjectError: its file does not allow that profile.
        """
        if preset is None or preset == self.profile:
            return self
        if preset not in self.allowed_profiles:
            raise ProjectError(
                f"{self.name} may have these profiles: {', '.join(self.allowed_profiles)}. What a project may have "
                "stands in its file, under profiles."
            )
        return self.model_copy(update={"profile": preset})

    def deid_profile(self) -> Profile:
        """The de-identification profile."""
        if not self.options:
            return Profile.preset(self.profile)
        return Profile(f"{self.profile} with options", self._options_with(self.profile))

    def _options_with(self, preset: str) -> tuple[str, ...]:
        """The options of a preset and the project's; what the preset has already is no second time in it."""
        return (*PRESETS[preset], *(option for option in self.options if option not in PRESETS[preset]))


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
