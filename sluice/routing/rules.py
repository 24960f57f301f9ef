"""The rules: one reviewed YAML file, checked as a whole when it is read; a mistake is named by file and line.

    rules:
      - name: chests-to-cad
        about: Frontal chests of adults, agreed with Thoracic Imaging on 2026-11-02.
        when:
          prediction: {task: body_part, label: adult_chest, score: {min: 0.9}}
          age: {min: 18}
          modality: [CR, DX]
        to: {node: pacs_cad}

`when` is a filter of `sluice.cohorts.language`; `to` is one of `node` (an Airflow connection of type `pacs`), `dag` and
`model` (a task of `sluice.predictions`). All rules that match apply: docs/decisions/0029-all-rules-that-match.md.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sluice.cohorts.errors import ExpressionError, Fault, meant
from sluice.cohorts.expressions import Expression
from sluice.cohorts.fields import REGISTRY, Registry
from sluice.cohorts.language import parse
from sluice.cohorts.plain_yaml import load
from sluice.predictions import TASKS

KINDS = ("node", "dag", "model")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,63}")
TARGET = re.compile(r"[A-Za-z0-9_.-]{1,200}")
MOST_RULES = 500


class RoutingError(RuntimeError):
    """The rules cannot be used; the message names file and line of each mistake.

    Attributes:
        faults: `Fault`s whose place is `<file>, line <n>`.
    """

    permanent = True

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(str(fault) for fault in faults[:10]) + ("" if len(faults) <= 10 else "; and more"))


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        name: small letters, digits, hyphens; decisions are kept by it.
        about: why, for who reviews it.
        when: which instances it takes.
        kind, target: where they go: `node` and the id of its connection, `dag` and its id, or `model` and its task.
        line: where it stands in the file.
    """

    name: str
    about: str
    when: Expression
    kind: str
    target: str
    line: int

    @property
    def destination(self) -> str:
        """As decisions name it."""
        return f"{self.kind} {self.target}"


@dataclass(frozen=True)
class Rules:
    """The rules of a file.

    Attributes:
        rules: in the order of the file, which means nothing.
        content: the file's text; `sha256` is its digest.
    """

    rules: tuple[Rule, ...]
    file_name: str
    content: str
    sha256: str


def load_rules(path: Path, registry: Registry = REGISTRY) -> Rules:
    """Read and check a file of rules.

    Args:
        registry: the fields that filters may name here (`sluice.cohorts.promoted.registry_of`).

    Raises:
        RoutingError: it cannot be read, is no YAML, or a rule is wrong.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise RoutingError([Fault(path.name, f"the rules cannot be read: {words}")]) from None
    return read_rules(content, path.name, registry)


def read_rules(content: str, file_name: str, registry: Registry = REGISTRY) -> Rules:
    """The same of a text.

    Raises:
        RoutingError: it is no YAML, or a rule is wrong.
    """
    try:
        given = load(content)
        node = yaml.compose(content, yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{file_name}, line {mark.line + 1}" if mark else file_name
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise RoutingError([Fault(at, f"no YAML: {problem}")]) from None
    except ValueError:
        raise RoutingError([Fault(file_name, "no YAML: a value in it, like a date, is impossible")]) from None
    reading = _Reading(file_name, node, registry)
    rules = reading.rules(given)
    if reading.faults:
        raise RoutingError(reading.faults)
    return Rules(rules, file_name, content, hashlib.sha256(content.encode()).hexdigest())


class _Reading:
    """A file being read; what is wrong is collected, so that one look shows all of it."""

    def __init__(self, file_name: str, node: yaml.Node | None, registry: Registry) -> None:
        self._file, self._node, self._registry = file_name, node, registry
        self.faults: list[Fault] = []

    def rules(self, given: Any) -> tuple[Rule, ...]:
        if not isinstance(given, Mapping) or set(given) != {"rules"} or not isinstance(given["rules"], list):
            self._fault("", "the file is a mapping with one key, rules, whose value is a list")
            return ()
        if len(given["rules"]) > MOST_RULES:
            self._fault("rules", f"more than {MOST_RULES} rules")
            return ()
        read = [self._rule(one, f"rules[{number}]") for number, one in enumerate(given["rules"])]
        made = [rule for rule in read if rule is not None]
        first: dict[str, int] = {}
        for rule in made:
            if rule.name in first:
                self.faults.append(
                    Fault(
                        f"{self._file}, line {rule.line}", f"the name {rule.name} is taken by line {first[rule.name]}"
                    )
                )
            first.setdefault(rule.name, rule.line)
        return tuple(made)

    def _rule(self, given: Any, place: str) -> Rule | None:
        if not isinstance(given, Mapping):
            self._fault(place, "a rule is a mapping with name, about, when and to")
            return None
        known, before = ("name", "about", "when", "to"), len(self.faults)
        for key in given:
            if key not in known:
                self._fault(f"{place}.{key}", f"a rule has {', '.join(known)} only{meant(key, known)}")
        for key in known:
            if key not in given:
                self._fault(place, f"the rule lacks {key}")
        name, about = given.get("name", ""), given.get("about", "")
        if "name" in given and not (isinstance(name, str) and NAME.fullmatch(name)):
            self._fault(f"{place}.name", "a name has 2 to 64 small letters, digits and hyphens")
        if "about" in given and not (isinstance(about, str) and about.strip()):
            self._fault(f"{place}.about", "say why there is this rule, and who agreed to it")
        when = self._when(given["when"], f"{place}.when") if "when" in given else None
        kind, target = self._to(given["to"], f"{place}.to") if "to" in given else ("", "")
        if len(self.faults) > before or when is None:
            return None
        return Rule(name, about, when, kind, target, self._line(place))

    def _when(self, given: Any, place: str) -> Expression | None:
        try:
            return parse(given, self._registry, place, sensitive=False)
        except ExpressionError as error:
            for fault in error.faults:
                self._fault(fault.place, fault.message)
        return None

    def _to(self, given: Any, place: str) -> tuple[str, str]:
        if not isinstance(given, Mapping) or len(given) != 1 or next(iter(given)) not in KINDS:
            self._fault(place, f"one of {', '.join(KINDS)}, like {{node: pacs_cad}}")
            return "", ""
        ((kind, target),) = given.items()
        if not isinstance(target, str) or not TARGET.fullmatch(target):
            self._fault(f"{place}.{kind}", "the id of a connection, a DAG or a task")
        elif kind == "model" and target not in TASKS:
            self._fault(f"{place}.model", f"one of {', '.join(TASKS)}{meant(target, TASKS)}")
        return str(kind), str(target)

    def _fault(self, place: str, message: str) -> None:
        said = re.sub(r"^rules\[\d+\]\.?", "", place)
        self.faults.append(Fault(f"{self._file}, line {self._line(place)}", f"{said}: {message}" if said else message))

    def _line(self, place: str) -> int:
        """Line of a place like `rules[2].when.age`: of the deepest part of it that the file has."""
        node, line = self._node, 1
        for key, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", place):
            if isinstance(node, yaml.SequenceNode) and number and int(number) < len(node.value):
                node = node.value[int(number)]
                line = node.start_mark.line + 1
            elif isinstance(node, yaml.MappingNode) and key:
                found = [(k, v) for k, v in node.value if k.value == key]
                if not found:
                    break
                line, node = found[0][0].start_mark.line + 1, found[0][1]
            else:
                break
        return line
