"""Holds a file against its schema, finds everything that is wrong, and goes on with what is sound.

After a fault the faulty value is replaced by a harmless one and the file is held against the schema again. The model
that results serves the checks that follow, so that one run reports all; with a fault the loader refuses it anyway.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from app.settings.findings import Finding, Findings
from app.settings.schema.keys import find_section, list_sibling_names
from app.settings.schema.model import StrictModel
from app.settings.sources import Source
from app.settings.yaml_document import KeyPath

_MAX_ROUNDS = 20
_KEY_MARK = "[key]"

_WANTED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "string_type": lambda _: "text; put a number or a bare yes, no, on, off in quotes",
    "string_too_short": lambda _: "a text that is not empty",
    "bool_type": lambda _: "true or false",
    "int_type": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "float_type": lambda _: "a number",
    "finite_number": lambda _: "a finite number",
    "tuple_type": lambda _: "a list, such as [a, b]",
    "model_type": lambda _: "a section: keys and values",
    "mapping_type": lambda _: "a section: keys and values",
    "greater_than": lambda context: f"a number above {context['gt']}",
    "greater_than_equal": lambda context: f"{context['ge']} or more",
    "less_than_equal": lambda context: f"{context['le']} or less",
    "literal_error": lambda context: f"one of {str(context['expected']).replace(' or ', ', ')}",
    "value_error": lambda context: str(context["error"]),
}


def validate(source: Source, findings: Findings) -> StrictModel | None:
    """The file as its model, repaired where needed; None when even that fails. Faults go to `findings`."""
    tree: Any = copy.deepcopy(source.tree)
    for _ in range(_MAX_ROUNDS):
        try:
            return source.model.model_validate(tree)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                path = tuple(step for step in detail["loc"] if step != _KEY_MARK)
                findings.add(_describe(source, findings, path, detail))
                _repair(source.model, tree, path, detail["type"])
    return None


def _describe(source: Source, findings: Findings, path: KeyPath, detail: Any) -> Finding:
    kind = detail["type"]
    if kind == "extra_forbidden":
        return Finding(source.name, path, "a key that is not known", _suggest(source.model, path))
    if _KEY_MARK in detail["loc"]:
        return Finding(source.name, path, "this name", _tell_wanted(detail))
    if kind == "missing":
        return Finding(source.name, path, "nothing", f"{_tell_choices(source.model, path)}: it is required")
    found = findings.tell(source.name, path, detail["input"])
    return Finding(source.name, path, found, _tell_wanted(detail))


def _tell_choices(model: type[StrictModel], path: KeyPath) -> str:
    section = find_section(model, path[:-1])
    annotation = section.model_fields[str(path[-1])].annotation if section is not None else None
    if get_origin(annotation) is Literal:
        return f"one of {', '.join(map(repr, get_args(annotation)))}"
    return "a value"


def _tell_wanted(detail: Any) -> str:
    phrase = _WANTED.get(detail["type"])
    message: str = detail["msg"]
    return phrase(detail.get("ctx", {})) if phrase else message


def _suggest(model: type[StrictModel], path: KeyPath) -> str:
    known = list_sibling_names(model, path[:-1])
    close = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
    return f"a known key; did you mean {close[0]}?" if close else f"one of {', '.join(known)}"


def _repair(model: type[StrictModel], tree: Any, path: KeyPath, kind: str) -> None:
    """Put something harmless where the fault is: a stand-in, an empty section, or nothing (the default)."""
    if not path:
        return
    parent: Any = _find(tree, path[:-1])
    if not isinstance(parent, (dict, list)):
        return
    name = path[-1]
    section = find_section(model, path[:-1])
    if section is not None and isinstance(parent, dict) and name in section.stand_ins:
        parent[name] = copy.deepcopy(section.stand_ins[str(name)])
    elif kind == "model_type":
        parent[name] = {}  # type: ignore[index]
    elif isinstance(parent, dict):
        parent.pop(name, None)
    else:
        _repair(model, tree, path[:-1], kind)


def _find(tree: Any, path: KeyPath) -> Any:
    """What is at `path`, or None: an earlier repair of the same round may have taken it away."""
    for step in path:
        if isinstance(tree, dict):
            tree = tree.get(step)
        elif isinstance(tree, list) and isinstance(step, int) and step < len(tree):
            tree = tree[step]
        else:
            return None
    return tree
