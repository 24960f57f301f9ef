"""YAML as people write filters: no aliases, no key twice, and not so deep that reading it takes for ever.

YAML lets the second of two equal keys win without a word; in a filter that is a condition lost. PyYAML's time grows
with the square of the depth of brackets.
"""

from __future__ import annotations

from typing import Any

import yaml

DEEPEST = 100


class _Loader(yaml.SafeLoader):
    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _fault("aliases (*name) are not taken; write it out", event)
        if self._depth == DEEPEST:
            raise _fault("it is nested too deep", event)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        met: set[tuple[str, str]] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.tag == "tag:yaml.org,2002:merge":
                raise _fault("merge keys (<<) are not taken; write it out", key)
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in met:
                    raise _fault("the same key a second time; put both under `all: [{…}, {…}]` or `any`", key)
                met.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _fault(problem: str, at: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, at.start_mark)


def load(text: str) -> Any:
    """What a text of YAML or JSON holds.

    Raises:
        yaml.YAMLError: it is none, or has an alias, a key twice, or too many levels; `problem` and `problem_mark` say
            what and where.
        ValueError: a date or number in it is impossible.
    """
    return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
