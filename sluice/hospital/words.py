"""What technologists and vendors write where the body part should stand."""

from __future__ import annotations

import random

from pydicom.charset import python_encoding

# region key -> (DICOM term, words in de, fr, es, zh, vendor spellings)
WORDS: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "CHEST": (
        "CHEST",
        {"de": "THORAX", "fr": "POUMONS", "es": "TORAX", "zh": "胸部"},
        ("CHEST_TO_ABD", "T_THORAX", "THORAX AP LIEGEND", "Chest"),
    ),
    "ABDOMEN": (
        "ABDOMEN",
        {"de": "BAUCH", "fr": "ABDOMEN SANS PREP", "es": "ABDOMEN", "zh": "腹部"},
        ("ABD", "ABDOMEN LIEGEND", "ABDO"),
    ),
    "LSPINE": (
        "LSPINE",
        {"de": "LWS", "fr": "RACHIS LOMBAIRE", "es": "COLUMNA LUMBAR", "zh": "腰椎"},
        ("L-SPINE", "LUMBAR SPINE", "LWS 2 EBENEN"),
    ),
    "TSPINE": (
        "TSPINE",
        {"de": "BWS", "fr": "RACHIS DORSAL", "es": "COLUMNA DORSAL", "zh": "胸椎"},
        ("T-SPINE", "THORACIC SPINE"),
    ),
    "CSPINE": (
        "CSPINE",
        {"de": "HWS", "fr": "RACHIS CERVICAL", "es": "COLUMNA CERVICAL", "zh": "颈椎"},
        ("C-SPINE", "HALSWIRBEL"),
    ),
    "SPINE": ("SPINE", {"de": "GANZE WS", "fr": "RACHIS", "es": "COLUMNA", "zh": "脊柱"}, ("WHOLESPINE", "GWS")),
    "HAND": ("HAND", {"de": "HAND", "fr": "MAIN", "es": "MANO", "zh": "手"}, ("HAND_2", "UP_EXM")),
    "WRIST": (
        "WRIST",
        {"de": "HANDGELENK", "fr": "POIGNET", "es": "MUÑECA", "zh": "腕关节"},
        ("WRIST_R", "UP_EXM"),
    ),
    "KNEE": ("KNEE", {"de": "KNIE", "fr": "GENOU", "es": "RODILLA", "zh": "膝关节"}, ("KNEE_STAND", "LOW_EXM")),
    "FOOT": ("FOOT", {"de": "FUSS", "fr": "PIED", "es": "PIE", "zh": "足"}, ("FOOT DP", "LOW_EXM")),
    "ANKLE": (
        "ANKLE",
        {"de": "SPRUNGGELENK", "fr": "CHEVILLE", "es": "TOBILLO", "zh": "踝关节"},
        ("OSG", "LOW_EXM"),
    ),
    "PELVIS": ("PELVIS", {"de": "BECKEN", "fr": "BASSIN", "es": "PELVIS", "zh": "骨盆"}, ("BECKENUEBERSICHT", "PELV")),
    "SHOULDER": (
        "SHOULDER",
        {"de": "SCHULTER", "fr": "EPAULE", "es": "HOMBRO", "zh": "肩关节"},
        ("SHOULDER_AP", "UP_EXM"),
    ),
    "ELBOW": ("ELBOW", {"de": "ELLENBOGEN", "fr": "COUDE", "es": "CODO", "zh": "肘关节"}, ("ELBOW_L", "UP_EXM")),
    "SKULL": ("SKULL", {"de": "SCHÄDEL", "fr": "CRANE", "es": "CRANEO", "zh": "头颅"}, ("HEAD", "SKULL_LAT", "CCT")),
    "HIP": ("HIP", {"de": "HÜFTE", "fr": "HANCHE", "es": "CADERA", "zh": "髋关节"}, ("HIP_AXIAL", "HUEFTE")),
    "BREAST": ("BREAST", {"de": "MAMMA", "fr": "SEIN", "es": "MAMA", "zh": "乳腺"}, ("BREAST",)),
}
_SPOKEN = {
    "CHEST": ("Thorax", "Chest"),
    "ABDOMEN": ("Abdomen", "Abdomen"),
    "LSPINE": ("Lendenwirbelsäule", "Lumbar spine"),
    "TSPINE": ("Brustwirbelsäule", "Thoracic spine"),
    "CSPINE": ("Halswirbelsäule", "Cervical spine"),
    "SPINE": ("Ganze Wirbelsäule", "Whole spine"),
    "HAND": ("Hand", "Hand"),
    "WRIST": ("Handgelenk", "Wrist"),
    "KNEE": ("Knie", "Knee"),
    "FOOT": ("Vorfuß", "Foot"),
    "ANKLE": ("Sprunggelenk", "Ankle"),
    "PELVIS": ("Beckenübersicht", "Pelvis"),
    "SHOULDER": ("Schulter", "Shoulder"),
    "ELBOW": ("Ellenbogen", "Elbow"),
    "SKULL": ("Schädel", "Skull"),
    "HIP": ("Hüftgelenk", "Hip"),
    "BREAST": ("Mamma", "Breast"),
}
_PYTHON_NAMES = {"": "ascii", "\\ISO 2022 IR 87": "iso2022_jp", "\\ISO 2022 IR 149": "euc_kr"}
_FOLDED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "Ä": "AE", "Ö": "OE", "Ü": "UE", "Ñ": "N"})


def spoken(region: str | None, language: str = "de") -> str:
    """The region as a description says it, in German or English."""
    if region is None:
        return ""
    return _SPOKEN[region][0 if language == "de" else 1]


def sayable(text: str, charset: str) -> str:
    """`text` if Specific Character Set `charset` can write it, else with umlauts spelt out."""
    codec = _PYTHON_NAMES.get(charset) or python_encoding[charset]
    try:
        text.encode(codec)
    except UnicodeEncodeError:
        return text.translate(_FOLDED)
    return text


def body_part_written(region: str, dirt: str, chance: random.Random) -> str | None:
    """What stands in Body Part Examined (0018,0015) for the true `region`.

    `dirt` is `clean`, `wrong`, `missing`, `language` or `vendor`; None means that the element is absent.
    """
    term, languages, vendor = WORDS[region]
    if dirt == "missing":
        return chance.choice((None, ""))
    if dirt == "wrong":
        return WORDS[chance.choice([key for key in WORDS if key not in (region, "BREAST")])][0]
    if dirt == "language":
        return languages[chance.choice(sorted(languages))]
    if dirt == "vendor":
        return chance.choice(vendor)
    return term
