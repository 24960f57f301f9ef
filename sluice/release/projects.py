"""Projects: who gets which images, de-identified how. One reviewed YAML file each, in `settings().projects`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sluice.deid.profile import PRESETS, Profile
from sluice.settings import settings


class ProjectError(RuntimeError):
    """A project cannot be used; the message says what to do."""


class Selection(BaseModel):
    """What a project asks for; each list is an allow-list, an empty one allows all.

    Attributes:
        modalities: Modality (0008,0060) of the series.
        regions: body region read from the header (`header_anatomy.region_key`).
        body_parts: body part that the model saw (`prediction.label` of the task `body_part`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    modalities: tuple[str, ...] = Field(min_length=1)
    regions: tuple[str, ...] = ()
    body_parts: tuple[str, ...] = ()

    def misses(self, candidate: Mapping[str, Any]) -> str | None:
        """Why the selection does not ask for a candidate, None where it does."""
        for name, wanted in (
            ("modality", self.modalities),
            ("region", self.regions),
            ("body_part", self.body_parts),
        ):
            if wanted and candidate[name] not in wanted:
                return f"another {name.replace('_', ' ')}" if candidate[name] else f"no {name.replace('_', ' ')} known"
        return None


class Project(BaseModel):
    """A release project.

    Attributes:
        name: as in bucket keys and the file's name.
        profile: a preset of `sluice.deid.profile`.
        bucket: where releases go, as `<name>/v<N>/`.
        pseudonym_prefix: of patients' pseudonyms in this project.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{1,39}$")]
    title: str
    profile: str
    selection: Selection
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    pseudonym_prefix: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{1,7}$")]

    @field_validator("profile")
    @classmethod
    def _is_preset(cls, value: str) -> str:
        if value not in PRESETS:
            raise ValueError(f"use one of: {', '.join(PRESETS)}")
        return value

    def deid_profile(self) -> Profile:
        """The de-identification profile."""
        return Profile.preset(self.profile)


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
        project = Project.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise ProjectError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ProjectError(f"{path} is no valid project. {faults}") from error
    if project.name != name:
        raise ProjectError(f"{path} calls its project {project.name!r}. Name and file name must agree.")
    return project


def project_names(folder: Path | None = None) -> list[str]:
    """Names of the projects that have a file."""
    return sorted(path.stem for path in (folder or settings().projects).glob("*.yaml"))
