"""The labels that the networks speak: five router classes and 36 body regions.

The regions are those of DICOM CID 4009 "DX Anatomy Imaged" in the order of the project's region table; a network's
outputs are in this order, so it never changes without new weights.
"""

from __future__ import annotations

ROUTER5 = ("abdominal", "adult_chest", "pediatric_chest", "spine", "others")

REGIONS36 = (
    "SKULL", "FACIALBONES", "NASALBONE", "SINUS", "JAW", "NECK", "CSPINE", "TSPINE", "LSPINE", "SPINE", "SSPINE",
    "CHEST", "RIB", "STERNUM", "CLAVICLE", "SCAPULA", "SHOULDER", "HUMERUS", "ELBOW", "FOREARM", "WRIST", "HAND",
    "FINGER", "THUMB", "ABDOMEN", "PELVIS", "SIJOINT", "HIP", "FEMUR", "KNEE", "PATELLA", "LOWERLEG", "ANKLE",
    "CALCANEUS", "FOOT", "TOE",
)  # fmt: skip

VIEWS = ("AP", "PA", "LATERAL")
"""Views (defined terms of View Position, PS3.3 C.8.11.5.1.1 kept to what there are labels for)."""

UPRIGHT_REGIONS = frozenset(
    ("SKULL", "SINUS", "CSPINE", "TSPINE", "LSPINE", "SPINE", "CHEST", "CLAVICLE", "SHOULDER", "ABDOMEN", "PELVIS",
     "HIP", "FEMUR", "KNEE", "LOWERLEG", "ANKLE")
)  # fmt: skip
"""Regions shown upright by custom; a hand or a foot lies as it lies, so its orientation means nothing."""

ROUTER5_OF_REGION = {
    "ABDOMEN": "abdominal",
    **dict.fromkeys(("CHEST", "RIB", "STERNUM"), "adult_chest"),
    **dict.fromkeys(("TSPINE", "LSPINE", "CSPINE", "SPINE", "SSPINE"), "spine"),
}
"""Router class that a region of an adult implies; every other region is `others`."""

REASONABLE = (
    ("SKULL", "FACIALBONES", "NASALBONE", "SINUS", "JAW"), ("CSPINE", "NECK"),
    ("CSPINE", "TSPINE", "LSPINE", "SPINE", "SSPINE"), ("CHEST", "RIB", "STERNUM"),
    ("CLAVICLE", "SCAPULA", "SHOULDER"), ("SHOULDER", "HUMERUS"), ("ELBOW", "FOREARM"), ("ELBOW", "HUMERUS"),
    ("FOREARM", "WRIST"), ("WRIST", "HAND", "FINGER", "THUMB"), ("PELVIS", "SIJOINT", "HIP"), ("HIP", "FEMUR"),
    ("FEMUR", "KNEE"), ("KNEE", "PATELLA"), ("KNEE", "LOWERLEG"), ("LOWERLEG", "ANKLE"),
    ("ANKLE", "CALCANEUS", "FOOT", "TOE"),
)  # fmt: skip
"""Regions that one film shows together, so that taking one for another is a reasonable error (as in Fang 2020)."""

PEDIATRIC_BELOW_YEARS = 15.0
"""A chest of a patient younger than this is a pediatric chest, when the age is known (README of the training data:
children are under 15; 15 to 17 belongs to neither class there)."""

UNIFESP_TO_REGION = {
    "Abdomen": "ABDOMEN", "Ankle": "ANKLE", "CervicalSpine": "CSPINE", "Chest": "CHEST", "Clavicles": "CLAVICLE",
    "Elbow": "ELBOW", "Feet": "FOOT", "Finger": "FINGER", "Forearm": "FOREARM", "Hand": "HAND", "Hip": "HIP",
    "Knee": "KNEE", "LowerLeg": "LOWERLEG", "LumbarSpine": "LSPINE", "Pelvis": "PELVIS", "Shoulder": "SHOULDER",
    "Sinus": "SINUS", "Skull": "SKULL", "Thigh": "FEMUR", "ThoracicSpine": "TSPINE", "Wrist": "WRIST",
}  # fmt: skip
"""Words of the shared manifest's `label` column; "Others" names no region."""


def regions_of(label: str) -> tuple[str, ...] | None:
    """Regions that a manifest label names (`Hand|Wrist` names two), None when it names none of ours."""
    words = [word for word in label.split("|") if word]
    if not words or any(word not in UNIFESP_TO_REGION for word in words):
        return None
    return tuple(sorted({UNIFESP_TO_REGION[word] for word in words}, key=REGIONS36.index))


def examined_of(regions: tuple[str, ...]) -> str | None:
    """The one region examined: the only one named, SPINE for several spine segments, None when it cannot be told."""
    if len(regions) == 1:
        return regions[0]
    if regions and set(regions) <= {"CSPINE", "TSPINE", "LSPINE"}:
        return "SPINE"
    return None
