"""`bff pdp inline`: moves `endpoint_map` into the routes on paper, and proves that nothing is answered otherwise."""

from __future__ import annotations

import difflib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.cli.inline_plan import Mappings, NewRoute, Plan, Planner, RouteChange
from app.cli.inline_proof import Proof, prove
from app.core.routes import PermissionMapping
from app.settings import Configuration, load_configuration
from app.settings.yaml_edits import YamlText

ROUTES_FILE, PDP_FILE = "routes.yaml", "pdp.yaml"


@dataclass(frozen=True, slots=True)
class Inlining:
    """What would be moved, the two new texts, and the proof."""

    plan: Plan
    texts: Mapping[str, str]
    diffs: Mapping[str, str]
    proof: Proof


def inline_endpoint_map(config_dir: Path, before: Configuration) -> Inlining:
    """Changes nothing. Raises `CannotEditError`, and `ConfigurationError` when the result would not start."""
    plan = Planner(before).plan()
    old = {name: (config_dir / name).read_text(encoding="utf-8") for name in (ROUTES_FILE, PDP_FILE)}
    new = dict(old)
    if plan.moved:
        new = {ROUTES_FILE: _edit_routes(old[ROUTES_FILE], plan), PDP_FILE: _edit_pdp(old[PDP_FILE], plan)}
    with tempfile.TemporaryDirectory() as folder:
        for file in config_dir.glob("*.yaml"):
            shutil.copyfile(file, Path(folder) / file.name)
        for name, text in new.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        after = load_configuration(Path(folder))
    diffs = {name: _build_diff(name, old[name], new[name]) for name in new}
    return Inlining(plan, new, diffs, prove(before, after))


def _edit_routes(text: str, plan: Plan) -> str:
    document = YamlText(text)
    for place, change in plan.changes.items():
        raw = document.tree["routes"][place]
        new_items = [_build_item(raw, new_route) for new_route in change.new_routes]
        path = ("routes", place)
        if change.is_dropped:
            document.replace_item(path, new_items)
            continue
        if new_items:
            document.insert_before(path, new_items)
        _add_mappings(document, place, raw, change)
    return document.build()


def _add_mappings(document: YamlText, place: int, raw: Mapping[str, object], change: RouteChange) -> None:
    if not change.additions:
        return
    mappings = _build_mappings(change.additions)
    if raw.get("authz_map"):
        document.add_to_mapping(("routes", place, "authz_map"), mappings)
    else:
        document.add_to_mapping(("routes", place), {"authz_map": mappings})


def _edit_pdp(text: str, plan: Plan) -> str:
    document = YamlText(text)
    document.remove_keys(("endpoint_map",), plan.moved)
    return document.build()


def _build_item(raw: Mapping[str, object], new_route: NewRoute) -> dict[str, object]:
    """A copy of the route in the file, with its own path, address, id, methods and map."""
    item = {**raw, "path": new_route.path, "id": new_route.id, "methods": list(new_route.methods)}
    if not raw.get("preserve_path"):
        item["upstream_path"] = new_route.upstream_path
    return {**item, "authz_map": _build_mappings(new_route.authz_map)}


def _build_mappings(mappings: Mappings) -> dict[str, object]:
    return {method: _build_entry(mapping) for method, mapping in mappings.items()}


def _build_entry(mapping: PermissionMapping) -> dict[str, object]:
    props = {"props": dict(mapping.props)} if mapping.props else {}
    id_from = {"id_from": mapping.id_from} if mapping.id_from else {}
    return {"resource": mapping.resource, "action": mapping.action, **id_from, **props}


def _build_diff(name: str, old: str, new: str) -> str:
    lines = old.splitlines(keepends=True), new.splitlines(keepends=True)
    return "".join(difflib.unified_diff(*lines, f"{name} (now)", f"{name} (new)"))
