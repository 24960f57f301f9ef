"""Project files are validated when they are loaded; a wrong one says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from sluice.release.projects import ProjectError, load_project, project_names
from sluice.settings import CHECKOUT

GOOD = """
name: good
title: Good
profile: basic
selection: {modality: [CR]}
bucket: releases
pseudonym_prefix: RAD
"""


def test_the_projects_of_this_repository_are_valid() -> None:
    names = project_names(CHECKOUT / "projects")
    assert {"radiographs", "chest-follow-up"} <= set(names)
    assert len({load_project(name, CHECKOUT / "projects").pseudonym_prefix for name in names}) == len(names)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("basic", "publik", "basic, longitudinal, public"),
        (
            "profile: basic",
            "profile: basic\noptions: [retain_everything]",
            "options: There is no option retain_everything",
        ),
        ("profile: basic", "profile: public\noptions: [retain_longitudinal_full_dates]", "exclude each other"),
        ("profile: basic", "profile: public\noptions: [clean_descriptors]", "twice"),
        ("profile: basic", "profile: basic\noptions: [clean_pixel_data]", "the project's rule for pixels decides it"),
        ("[CR]", "[]", "selection: modality: the list is empty"),
        ("modality:", "modalities:", "selection: modalities: there is no such field. Did you mean modality?"),
        ("{modality: [CR]}", "{patient_id: X}", "patient_id identifies patients; write may_use_identifiers"),
        ("bucket:", "may_see: {age: old}\nbucket:", "may_see: age: a number"),
        ("bucket:", "approval: none\npixels: {text: mask, claim: true}\nbucket:", "claim: true needs approval"),
        ("profile: basic", "profile: basic\nprofiles: [basic, secret]", "profiles: there is no secret"),
        ("profile: basic", "profile: basic\nprofiles: [longitudinal]", "basic, the profile where nobody chooses"),
        ("profile: basic", "profile: basic\nprofiles: [basic, public]", "Make the public release a project of its own"),
        (
            "profile: basic",
            "profile: basic\nprofiles: [basic, longitudinal]\noptions: [retain_longitudinal_full_dates]",
            "options: with longitudinal: .* exclude each other",
        ),
        ("title: Good", "titel: Good", "titel"),
        ("RAD", "Smith John", "pseudonym_prefix"),
        ("name: good", "name: other", "must agree"),
        ("name: good", "name: ../good", "name"),
        ("{modality", "{{", "no YAML"),
    ],
)
def test_wrong_projects_say_what_is_wrong(tmp_path: Path, old: str, new: str, message: str) -> None:
    (tmp_path / "good.yaml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ProjectError, match=message):
        load_project("good", tmp_path)


@pytest.mark.parametrize("name", ["missing", "../good", ""])
def test_unknown_projects_name_the_known_ones(tmp_path: Path, name: str) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    with pytest.raises(ProjectError, match="Projects there: good"):
        load_project(name, tmp_path)


def test_options_are_added_to_the_preset(tmp_path: Path) -> None:
    text = GOOD.replace("profile: basic", "profile: public\noptions: [clean_structured_content, clean_graphics]")
    (tmp_path / "good.yaml").write_text(text)
    codes = {code for code, _ in load_project("good", tmp_path).deid_profile().codes()}
    assert codes == {"113100", "113111", "113107", "113105", "113104", "113103"}


def test_a_profile_is_chosen_among_those_of_the_file_only(tmp_path: Path) -> None:
    options = "options: [clean_descriptors, clean_graphics]"  # longitudinal has the first of them already
    text = GOOD.replace("profile: basic", f"profile: basic\nprofiles: [basic, longitudinal]\n{options}")
    (tmp_path / "good.yaml").write_text(text)
    project = load_project("good", tmp_path)
    assert project.under(None) is project.under("basic") is project
    assert project.under("longitudinal").deid_profile().options[-1] == "clean_graphics"
    with pytest.raises(ProjectError, match="may have these profiles: basic, longitudinal"):
        project.under("public")
    (tmp_path / "good.yaml").write_text(GOOD)
    with pytest.raises(ProjectError, match=r"may have these profiles: basic\."):
        load_project("good", tmp_path).under("longitudinal")
