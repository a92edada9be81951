"""Lays one layer of settings over another: sections are merged, everything else is replaced."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from app.settings.schema.keys import ANY_ITEM, ANY_NAME
from app.settings.sources import IDPS, PDP, ROUTES, SETTINGS

WHOLE_FILES: Mapping[str, str] = {SETTINGS: "settings", PDP: "pdp"}
"""File to the section of defaults.yaml that holds its defaults."""
ENTRIES: Mapping[str, Mapping[tuple[str, ...], str]] = {
    ROUTES: {
        ("services", ANY_NAME): "service",
        ("routes", ANY_ITEM): "route",
        ("routes", ANY_ITEM, "authz_map", ANY_NAME): "mapping",
        ("forward_auth", ANY_ITEM, "authz_map", ANY_NAME): "mapping",
        ("forward_auth", ANY_ITEM): "forward_auth",
    },
    PDP: {("endpoint_map", ANY_NAME, ANY_NAME): "mapping"},
    IDPS: {("idps", ANY_ITEM): "idp"},
}
"""File to its kinds of entry, each with the section of defaults.yaml that holds an entry's defaults."""


def lay_over(below: Any, above: Any) -> Any:
    """A section that is there but says nothing takes nothing away."""
    if isinstance(below, dict) and isinstance(above, dict):
        merged = dict(below)
        for key, value in above.items():
            merged[key] = lay_over(below[key], value) if key in below else value
        return merged
    return below if above is None and isinstance(below, dict) else above


def lay_over_defaults(file: str, tree: Any, defaults: Mapping[str, Any]) -> Any:
    """A file's tree with the shipped defaults under it."""
    if file in WHOLE_FILES:
        tree = lay_over(copy.deepcopy(defaults.get(WHOLE_FILES[file], {})), tree)
    for path, section in ENTRIES.get(file, {}).items():
        tree = _lay_over_entries(tree, path, defaults.get(section, {}))
    return tree


def _lay_over_entries(tree: Any, path: tuple[str, ...], entry_defaults: Mapping[str, Any]) -> Any:
    if not path:
        return lay_over(copy.deepcopy(entry_defaults), tree)
    step, rest = path[0], path[1:]
    if step == ANY_ITEM and isinstance(tree, list):
        return [_lay_over_entries(item, rest, entry_defaults) for item in tree]
    if isinstance(tree, dict):
        names = list(tree) if step == ANY_NAME else [step] if step in tree else []
        return {**tree, **{name: _lay_over_entries(tree[name], rest, entry_defaults) for name in names}}
    return tree
