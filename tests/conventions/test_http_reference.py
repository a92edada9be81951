"""docs/reference/http-interface.md lists exactly the endpoints that exist."""

from __future__ import annotations

import re
from pathlib import Path

from flask import Flask

from app.blueprints import admin, auth, authzen, backchannel, forward_auth, health, me, proxy, well_known
from app.core.own_endpoints import OWN_ENDPOINTS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "http-interface.md"
ROW = re.compile(r"^\| `(?P<method>[A-Z]+) (?P<path>/[^`]+)` \|", re.MULTILINE)


def _find_endpoints() -> set[tuple[str, str]]:
    """Method and path of every endpoint that a view answers; HEAD goes with GET."""
    app = Flask("reference")
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    for module in (admin, auth, authzen, backchannel, forward_auth, health, me, proxy, well_known):
        app.register_blueprint(module.blueprint)
    rules = [rule for rule in app.url_map.iter_rules() if rule.endpoint not in ("proxy.carry", "static")]
    return {
        (method, re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in rules
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_the_reference_lists_every_endpoint() -> None:
    documented = {(row["method"], row["path"]) for row in ROW.finditer(REFERENCE.read_text(encoding="utf-8"))}
    assert documented == _find_endpoints()


def test_every_endpoint_is_reserved_against_routes() -> None:
    for method, path in _find_endpoints():
        assert method in OWN_ENDPOINTS[path], path
