"""A value whose part is not built yet is refused, never ignored."""

from __future__ import annotations

from typing import Any

import pytest

from app.settings.unbuilt import UNBUILT
from tests.unit.settings.config_folder import ConfigFolder, change

MAPPING = {"GET": {"resource": "form", "action": "read"}}

TABLE: list[tuple[str, str, object]] = [
    ("settings", "limits.per_address", "100/minute"),
    ("routes", "routes[0].rate_limit", "10/minute"),
]


@pytest.mark.parametrize(("file", "key", "value"), TABLE, ids=[f"{key}={value}" for _, key, value in TABLE])
def test_what_is_not_built_is_refused(folder: ConfigFolder, file: str, key: str, value: object) -> None:
    set_key(folder, file, key, value)
    faults = {fault.key: fault for fault in folder.find_faults()}
    assert faults[key].file == f"{file}.yaml"
    assert "not built yet in this version" in faults[key].wanted


def set_key(folder: ConfigFolder, file: str, key: str, value: Any) -> None:
    tree = {"settings": folder.settings, "routes": folder.routes}[file]
    if key.startswith("routes[0]."):
        tree, key = tree["routes"][0], key.removeprefix("routes[0].")
    change(tree, key, value)


def test_every_line_of_the_table_is_tested() -> None:
    tested = {key.replace("[0]", "[]") for _, key, _ in TABLE}
    assert tested == {unbuilt.key for unbuilt in UNBUILT}


def test_a_decision_point_that_nothing_asks_may_be_described(folder: ConfigFolder) -> None:
    folder.pdp = {"connection": {"base_url": "http://pdp:8001"}, "endpoint_map": {"/api/forms/{id}": MAPPING}}
    assert folder.load().pdp.endpoint_map["/api/forms/{id}"]["GET"].action == "read"
