"""What the schema knows and this version cannot do yet.

Such a value is refused at start, never ignored. The table is meant to shrink: whoever builds a part takes its line out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from app.settings.checks.draft import Draft
from app.settings.findings import Finding, tell_value
from app.settings.sources import ROUTES, SETTINGS
from app.settings.yaml_document import KeyPath


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """One key of which only some values work so far."""

    file: str
    key: str
    """Dotted; `[]` stands for every item of a list, `*` for every name."""
    is_built: Callable[[object], bool]
    built: str
    """What works, for people."""


def only(*values: object) -> tuple[Callable[[object], bool], str]:
    return (lambda value: value in values), " or ".join(tell_value(value) for value in values)


NOTHING: tuple[Callable[[object], bool], str] = (lambda value: not value), "nothing"

UNBUILT = (
    # limits
    Unbuilt(SETTINGS, "limits.per_address", *NOTHING),
    Unbuilt(ROUTES, "routes[].rate_limit", *NOTHING),
)


def check_unbuilt(draft: Draft) -> Iterator[Finding]:
    models = {SETTINGS: draft.settings, ROUTES: draft.routes}
    for unbuilt in UNBUILT:
        steps = tuple(unbuilt.key.replace("[]", ".[]").split("."))
        for path, value in _find_values(models[unbuilt.file], steps, ()):
            if not unbuilt.is_built(value):
                found = draft.findings.tell(unbuilt.file, path, value)
                yield Finding(unbuilt.file, path, found, f"{unbuilt.built}: more is not built yet in this version")


def _find_values(value: object, steps: tuple[str, ...], path: KeyPath) -> Iterator[tuple[KeyPath, object]]:
    if not steps:
        yield path, value
    elif steps[0] == "[]" and isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _find_values(item, steps[1:], (*path, index))
    elif steps[0] == "*" and isinstance(value, Mapping):
        for name, item in value.items():
            yield from _find_values(item, steps[1:], (*path, name))
    else:
        yield from _find_values(getattr(value, steps[0]), steps[1:], (*path, steps[0]))
