"""A small hospital's rows for tests of filters, and a second, plain reading of the filter language over them.

The reading shares no code with `sluice.cohorts`: it takes an expression as YAML gave it and asks each instance in turn.
"""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

import psycopg2
from psycopg2.extras import Json

from sluice.database import Database

ROOT = "1.2.826.0.1.3680043.8.498"
CT, DX = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.1"
TODAY = date(2026, 10, 26)
MODEL, OLD_MODEL = "body_part-new-1", "body_part-old-1"
ELEMENTS = {  # tag → VR and the values that instances of a block may differ in
    "00180081": ("DS", [10, 30.5, "90", None]),
    "00181030": ("LO", ["Thorax nativ", "KNIE rechts", "50%_a\\b", "", None]),
    "00080060": ("CS", ["CT"]),
    "00080022": ("DA", ["20260105", "2026.02.01", "unknown", None]),
    "00101010": ("AS", ["045Y"]),
}
CREATOR = "SIEMENS MR HEADER"
Instance = dict[str, Any]


class SmallHospital:
    """Writes a random but fixed hospital and remembers its instances.

    Attributes:
        instances: one flat dict an instance, with everything above it.
    """

    def __init__(self, database: Database, seed: int = 1, patients: int = 7) -> None:
        self.instances: list[Instance] = []
        self._random = random.Random(seed)
        self._studies = self._series = self._blocks = 0
        self._connection = psycopg2.connect(database.url)
        self._connection.autocommit = True
        for model, age in ((OLD_MODEL, 2), (MODEL, 1)):
            self.put(
                "model",
                {
                    "model_id": model,
                    "task": "body_part",
                    "architecture": "test",
                    "weights_sha256": "",
                    "card": {},
                    "registered_at": TODAY - timedelta(days=age),
                },
            )
        for number in range(patients):
            self._patient(number)
        self._connection.close()

    def put(self, table: str, row: Mapping[str, Any], returning: str = "") -> Any:
        """Insert one row; dicts become JSON."""
        values = [Json(value) if isinstance(value, dict) else value for value in row.values()]
        places = ", ".join(["%s"] * len(values))
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"insert into {table} ({', '.join(row)}) values ({places})"
                + (f" returning {returning}" if returning else ""),
                values,
            )
            return cursor.fetchone()[0] if returning else None  # type: ignore[index]

    def _patient(self, number: int) -> None:
        pick = self._random.choice
        patient = {
            "patient_id": None if number == 3 else f"PAT-{number % 5}",
            "patient_id_issuer": pick([None, "", "LAB"]) if number > 4 else None,
            "patient_sex": pick(["M", "F", None]),
        }
        for _ in range(self._random.randint(1, 3)):
            self._study(patient)

    def _study(self, patient: dict[str, Any]) -> None:
        pick = self._random.choice
        self._studies += 1
        study = patient | {
            "study_instance_uid": f"{ROOT}.{self._studies}",
            "study_date": pick([None, *(TODAY - timedelta(days=days) for days in (0, 3, 30, 200, 300, 400))]),
            "study_description": pick([None, "", "CT Thorax", "MRT Knie re.", "Thorax/Abdomen nativ", "100% KM_x"]),
        }
        self.put("study", study)
        if pick([True, False, False, False]):
            self._finding("study", study["study_instance_uid"])
        for _ in range(self._random.randint(1, 3)):
            self._one_series(study)

    def _one_series(self, study: dict[str, Any]) -> None:
        pick = self._random.choice
        self._series += 1
        series = {
            "series_instance_uid": f"{ROOT}.{self._series}.1",
            "study_instance_uid": study["study_instance_uid"],
            "modality": pick(["CT", "MR", "DX", "DX", None]),
            "series_number": pick([1, 2, None]),
            "station_name": pick(["CT1", "ct2", None]),
        }
        self.put("series", series)
        region = pick([None, ("CHEST", "51185008"), ("KNEE", "72696002")])
        anatomy = {
            "region_key": region and region[0],
            "sct_code": region and region[1],
            "laterality": pick([None, "R"]),
        }
        self.put("header_anatomy", anatomy | {"series_instance_uid": series["series_instance_uid"], "confidence": 1})
        if pick([True, False, False, False]):
            self._finding("series", series["series_instance_uid"])
        for _ in range(self._random.randint(1, 2)):
            self._block(study | series | anatomy)

    def _block(self, above: dict[str, Any]) -> None:
        pick, size = self._random.choice, self._random.randint(1, 5)
        self._blocks += 1
        alike = {
            "sop_class_uid": pick([CT, DX]),
            "image_type": pick([None, ["ORIGINAL", "PRIMARY"], ["derived", "SECONDARY", "MPR"]]),
            "patient_age_years": pick([None, 10, 14, 15, 65]),
            "rows": pick([None, 512, 1024]),
            "slice_thickness": pick([None, 0.5, 1.5, 5]),
            "burned_in_annotation": pick([None, "YES", "NO"]),
        }
        columns: dict[str, list[Any]] = {}
        for tag, (vr, values) in ELEMENTS.items():
            value, how = pick(values), pick(["alike", "alike", "differ"])
            of_each = [value] * size if how == "alike" else [pick(values) for _ in range(size)]
            columns[tag] = [None if one is None else {"vr": vr, "Value": [one]} for one in of_each]
        sequence = {"vr": "SQ", "Value": [{"00080100": {"vr": "SH", "Value": [code]}} for code in ("T-1", "T-2")]}
        columns["00082218"] = [sequence if pick([True, False]) else None] * size
        private = pick([None, ("10", 1000), ("11", 50)])
        if private:
            columns[f"0019{'0010' if private[0] == '10' else '0011'}"] = [{"vr": "LO", "Value": [CREATOR]}] * size
            columns[f"0019{private[0]}0C"] = [{"vr": "IS", "Value": [private[1]]}] * size
        shared = {
            tag: of_each[0]
            for tag, of_each in columns.items()
            if of_each[0] is not None and all(one == of_each[0] for one in of_each)
        }
        varying = {tag: of_each for tag, of_each in columns.items() if any(one != of_each[0] for one in of_each)}
        block = self.put(
            "header_block",
            alike
            | {
                "series_instance_uid": above["series_instance_uid"],
                "study_instance_uid": above["study_instance_uid"],
                "instances": size,
                "file_bytes": 1000 * size,
                "transfer_syntax_uid": "1.2.840.10008.1.2.1",
                "elements": shared,
                "content": b"",
            },
            "block_id",
        )
        for tag, of_each in varying.items():
            self.put("header_difference", {"block_id": block, "tag": tag, "elements": _json_array(of_each)})
        for position in range(size):
            self._instance(above | alike | {"block_id": block, "block_position": position}, columns, position)

    def _instance(self, above: dict[str, Any], columns: Mapping[str, list[Any]], position: int) -> None:
        pick = self._random.choice
        uid = f"{ROOT}.{above['block_id']}.2.{position}"
        row = {
            "sop_instance_uid": uid,
            "instance_number": pick([None, 1, 2, 3]),
            **{
                name: above[name]
                for name in (
                    "series_instance_uid",
                    "study_instance_uid",
                    "sop_class_uid",
                    "block_id",
                    "block_position",
                )
            },
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        }
        self.put("instance", row)
        held = pick([False, False, False, False, True]) and self._finding("instance", uid)
        prediction = None
        if above["modality"] == "DX" and pick([True, True, False]):
            for model in (OLD_MODEL, MODEL):
                label, score = pick(["adult_chest", "others"]), pick([0.5, 0.9])
                visible = pick([["CHEST"], ["KNEE", "FEMUR"], []])
                view = {"value": pick(["AP", "LATERAL"]), "score": 0.9, "confident": pick([True, True, False])}
                detail = {"examined": pick(["CHEST", "KNEE"]), "visible": visible, "view": view}
                self.put(
                    "prediction",
                    {"sop_instance_uid": uid, "model_id": model, "task": "body_part", "label": label, "score": score}
                    | {"detail": detail},
                )
                prediction = {"label": label, "score": score} | detail
        if prediction and pick([True, False]):
            fusion = self.put("fusion", {"model_id": MODEL, "films": 1, "parameters": {}}, "fusion_id")
            prediction["fused"] = pick(["CHEST", "KNEE"])
            self.put(
                "fused_anatomy",
                {"sop_instance_uid": uid, "model_id": MODEL, "fusion_id": fusion, "probability": 0.7}
                | {"region_key": prediction["fused"]},
            )
        elements = {tag: of_each[position] for tag, of_each in columns.items() if of_each[position] is not None}
        self.instances.append(
            above | row | {"elements": elements, "prediction": prediction, "held": _held(held, above, self._findings)}
        )

    _findings: dict[str, set[tuple[str, str]]] = {}

    def _finding(self, level: str, uid: str) -> set[tuple[str, str]]:
        name = {"study": "study_instance_uid", "series": "series_instance_uid", "instance": "sop_instance_uid"}[level]
        rule, severity = self._random.choice([("blank", "stop"), ("doubt", "quarantine"), ("odd", "warn")])
        self.put("quality_finding", {"window_key": "x", "rule": rule, "severity": severity, "level": level, name: uid})
        found = {(rule, severity)} if severity != "warn" else set()
        self._findings = {**self._findings, uid: found}
        return found


def _held(own: Any, above: dict[str, Any], findings: Mapping[str, set[tuple[str, str]]]) -> set[tuple[str, str]]:
    return (
        (own or set())
        | findings.get(above["study_instance_uid"], set())
        | findings.get(above["series_instance_uid"], set())
    )


def _json_array(values: list[Any]) -> Json:
    return Json(values)


# -- the plain reading --------------------------------------------------------------------------------------------

COLUMNS = {"station": "station_name", "sex": "patient_sex", "sop_class": "sop_class_uid", "age": "patient_age_years"}


def chosen(expression: Mapping[str, Any], instances: list[Instance]) -> set[str]:
    """SOP Instance UIDs that an expression selects."""
    return {one["sop_instance_uid"] for one in instances if _holds(expression, one, instances)}


def _holds(asked: Mapping[str, Any], one: Instance, instances: list[Instance]) -> bool:
    if "tag" in asked:
        rest = {key: value for key, value in asked.items() if key not in ("tag", "creator", "vr")}
        return _element(asked["tag"], asked.get("creator"), rest.get("is", rest), one)
    return all(_one(key, value, one, instances) for key, value in asked.items())


def _one(key: str, asked: Any, one: Instance, instances: list[Instance]) -> bool:
    match key:
        case "all":
            return all(_holds(part, one, instances) for part in asked)
        case "any":
            return any(_holds(part, one, instances) for part in asked)
        case "not":
            return not _holds(asked, one, instances)
        case "quality":
            rules, severities = _list(asked.get("rule")), _list(asked.get("severity"))
            held = any(
                (not rules or rule in rules) and (not severities or severity in severities)
                for rule, severity in one["held"]
            )
            return held is asked.get("held", True)
        case "prediction":
            said = one["prediction"]
            return bool(
                said
                and asked["task"] == "body_part"
                and (not asked.get("label") or said["label"] in _list(asked["label"]))
                and ("score" not in asked or _asks(asked["score"], said["score"]))
                and (
                    "view" not in asked or (said["view"]["confident"] and said["view"]["value"] in _list(asked["view"]))
                )
            )
        case "body_part":
            return _region(asked, one)
        case "series_has" | "has" | "patient_has":
            return _has(key, asked, one, instances)
        case "image_type":
            held = {value.lower() for value in one["image_type"] or ()}
            asked = asked if isinstance(asked, Mapping) else {"contains": asked}
            return all(
                (not held) is value
                if name == "missing"
                else bool(held & {item.lower() for item in _list(value)})
                if name == "contains"
                else held >= {item.lower() for item in _list(value)}
                for name, value in asked.items()
            )
        case "burned_in":
            said = one["burned_in_annotation"]
            return said is not None and (said == "YES") is asked
    return _asks(asked, one[COLUMNS.get(key, key)])


def _has(key: str, asked: Mapping[str, Any], one: Instance, instances: list[Instance]) -> bool:
    counts = {name: asked[name] for name in ("studies", "series", "instances", "days_before") if name in asked}
    inner = {name: value for name, value in asked.items() if name not in counts}
    of = {
        "series_has": lambda other: other["series_instance_uid"],
        "has": lambda other: other["study_instance_uid"],
        "patient_has": lambda other: other["patient_id"] and (other["patient_id"], other["patient_id_issuer"] or ""),
    }[key]
    if of(one) is None:
        return False
    held = _chosen_once(repr(inner), inner, instances)
    others = [other for other in instances if of(other) == of(one) and other["sop_instance_uid"] in held]
    days = counts.pop("days_before", None)
    if days is not None:
        here = one["study_date"]
        others = [
            other for other in others if here and other["study_date"] and _asks(days, (here - other["study_date"]).days)
        ]
    numbers = {
        "studies": len({other["study_instance_uid"] for other in others}),
        "series": len({other["series_instance_uid"] for other in others}),
        "instances": len(others),
    }
    return bool(others) and all(_asks(value, numbers[name]) for name, value in counts.items())


_CHOSEN: dict[tuple[str, int], set[str]] = {}


def _chosen_once(text: str, inner: Mapping[str, Any], instances: list[Instance]) -> set[str]:
    """What stands inside `has` is the same question for every instance."""
    key = (text, id(instances))
    if key not in _CHOSEN:
        _CHOSEN[key] = chosen(inner, instances)
    return _CHOSEN[key]


def _region(asked: Any, one: Instance) -> bool:
    asked = asked if isinstance(asked, Mapping) else {"is": asked}
    by, prediction = asked.get("by", "header"), one["prediction"] or {}
    wanted = set(_list(asked["is"]))
    header = one["region_key"] in wanted
    examined = prediction.get("examined") in wanted
    visible = examined or bool(wanted & set(prediction.get("visible", ())))
    fused = prediction["fused"] in wanted if "fused" in prediction else header
    ways = {"header": header, "examined": examined, "visible": visible, "fused": fused}
    ways |= {"union": header or visible}
    # one part at a time: header and model have to say the same
    ways["intersection"] = any(
        one["region_key"] == part and (prediction.get("examined") == part or part in prediction.get("visible", ()))
        for part in wanted
    )
    return ways[by]


def _element(tag: str, creator: str | None, asked: Any, one: Instance) -> bool:
    elements = one["elements"]
    path = tag.replace(",", "").split(".")
    if creator:
        block = next((key[6:] for key, e in elements.items() if key[:6] == "001900" and e["Value"] == [creator]), None)
        path = [f"0019{block}{path[0][-2:].upper()}"]
    values = [elements[path[0]]] if path[0] in elements else []
    for step in path[1:]:
        values = [item[step] for element in values for item in element["Value"] if step in item]
    flat = [value for element in values for value in element.get("Value", ())]
    asked = asked if isinstance(asked, Mapping) else {"is": asked}
    there = [value for value in flat if value not in (None, "")]
    rest = {name: value for name, value in asked.items() if name not in ("missing", "present")}
    if "missing" in asked and (not there) is not asked["missing"]:
        return False
    if "present" in asked and bool(there) is not asked["present"]:
        return False
    vr = ELEMENTS.get(path[0], ("SH", []))[0] if not creator else "IS"
    return not rest or any(_asks(rest, _typed(vr, value)) for value in flat)


def _typed(vr: str, value: Any) -> Any:
    if vr in ("DS", "IS"):
        return float(value) if value is not None else None
    if vr == "DA":
        digits = re.sub("[.-]", "", value)
        return date.fromisoformat(digits) if digits.isdigit() else None
    return value


COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "min": operator.ge,
    "max": operator.le,
    "above": operator.gt,
    "below": operator.lt,
    "from": operator.ge,
    "to": operator.le,
}


def _asks(asked: Any, value: Any) -> bool:
    if not isinstance(asked, Mapping):
        asked = {"from": asked, "to": asked} if isinstance(asked, date) else {"is": asked}
    return all(_asks_one(name, wanted, value) for name, wanted in asked.items())


def _asks_one(name: str, wanted: Any, value: Any) -> bool:
    if name in ("missing", "present"):
        return (value in (None, "")) is (wanted is (name == "missing"))
    if value is None:
        return False
    if name in COMPARED:
        return COMPARED[name](value, wanted)
    if name == "between":
        return bool(wanted[0] <= value <= wanted[1])
    if name == "year":
        return value.year in _list(wanted)
    if name == "last_days":
        return bool(TODAY - timedelta(days=wanted) <= value <= TODAY)
    if not isinstance(value, str):
        return value in _list(wanted)
    said = value.lower()
    tests: dict[str, Callable[[str], bool]] = {
        "is": lambda word: said == word,
        "one_of": lambda word: said == word,
        "contains": lambda word: word in said,
        "starts_with": said.startswith,
        "word": lambda word: bool(re.search(rf"(^|[\W_]){re.escape(word)}([\W_]|$)", said)),
        "like": lambda word: bool(
            re.fullmatch("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in word), said, re.DOTALL)
        ),
    }
    return any(tests[name](word.lower()) for word in _list(wanted))


def _list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
