"""Overrides from the environment: `BFF_<SECTION>__<KEY>` for every key of settings.yaml.

A name that is nearly one of these is a fault, never ignored. Other `BFF_…` names are left alone: an orchestrator may
set `BFF_SERVICE_HOST` and the like for a service that is called bff.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.settings.schema import Settings
from app.settings.schema.keys import Key, list_keys
from app.settings.schema.values import UntypedText
from app.settings.yaml_document import KeyPath, YamlSyntaxError, parse_yaml_text, walk_values

PREFIX = "BFF_"
PROCESS_VARIABLES = frozenset({"BFF_BIND", "BFF_CONFIG_DIR"})
"""Read by gunicorn.conf.py and by the loader; they shape the process and are not settings."""


@dataclass(slots=True)
class Overrides:
    """What the environment says: a tree to lay over settings.yaml, and which variable said what."""

    tree: dict[str, object] = field(default_factory=dict)
    variables: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Variable, key, found, wanted."""


def name_variable(key: Key) -> str:
    return PREFIX + "__".join(key.path).upper()


def list_variables() -> dict[str, Key]:
    """Every override there is, by name."""
    return {name_variable(key): key for key in list_keys(Settings) if key.is_fixed}


def read_overrides(environ: Mapping[str, str]) -> Overrides:
    known = list_variables()
    overrides = Overrides()
    for name in sorted(environ):  # a section comes before its keys, which then win over it
        if not name.startswith(PREFIX) or name in PROCESS_VARIABLES:
            continue
        if name in known:
            _take(overrides, name, known[name], environ[name])
        elif hint := _find_meant_name(name, known):
            overrides.problems.append((name, "", "a variable that is not known", hint))
    return overrides


def _take(overrides: Overrides, name: str, key: Key, text: str) -> None:
    value: object = UntypedText(text)
    if key.is_section:
        try:
            value = parse_yaml_text(text)
        except YamlSyntaxError as error:
            overrides.problems.append((name, key.name, "text that is not YAML", error.problem))
            return
    section = overrides.tree
    for step in key.path[:-1]:
        inner = section.setdefault(step, {})
        if not isinstance(inner, dict):
            inner = section[step] = {}
        section = inner
    section[key.path[-1]] = value
    for path, _ in walk_values(value, tuple(key.path)):
        overrides.variables[path] = name


def _find_meant_name(name: str, known: Mapping[str, Key]) -> str:
    """What was probably meant; empty: the variable is none of ours."""
    for candidate in known:
        if candidate.replace("__", "_") == name.replace("__", "_").upper():
            return f"{candidate}: two underscores between section and key, capitals"
    close = difflib.get_close_matches(name.upper(), _narrow(name, known), n=1, cutoff=0.8)
    if close:
        meant = f"{close[0]}__<KEY>" if known[close[0]].is_section else close[0]
        return f"a known name; did you mean {meant}?"
    return "the name of a known setting: BFF_<SECTION>__<KEY>" if "__" in name else ""


def _narrow(name: str, known: Mapping[str, Key]) -> Iterator[str]:
    """Names with `__` are compared with such names only: `BFF_SERVICE_HOST` is no misspelt setting."""
    return (candidate for candidate in known if ("__" in candidate) == ("__" in name))
