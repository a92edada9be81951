from __future__ import annotations

import json
from typing import Any

import pytest

from app.settings.schema.json_schema import build_json_schema
from app.settings.schema.keys import list_keys
from app.settings.sources import SCHEMAS


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_describes_every_key_and_refuses_others(name: str) -> None:
    schema = build_json_schema(SCHEMAS[name], name)
    sections = [schema, *schema.get("$defs", {}).values()]
    described = {key for section in sections for key in section["properties"]}
    assert described >= {key.path[-1] for key in list_keys(SCHEMAS[name])}
    assert all(section["additionalProperties"] is False for section in sections)
    assert json.loads(json.dumps(schema)) == schema


def find_setting(name: str, section: str, key: str) -> Any:
    return build_json_schema(SCHEMAS[name], name)["$defs"][section]["properties"][key]


def test_a_value_may_be_a_variable_where_text_is_not_wanted() -> None:
    setting = find_setting("settings.yaml", "SessionSettings", "idle_timeout_seconds")
    kinds = {option["type"] for option in setting["anyOf"]}
    assert kinds == {"integer", "string"}
    assert setting["default"] == 1800
    assert setting["description"]


def test_bounds_are_those_of_json_schema() -> None:
    number = find_setting("settings.yaml", "OidcSettings", "clock_skew_seconds")["anyOf"][0]
    assert (number["minimum"], number["maximum"]) == (0, 300)


def test_choices_are_listed() -> None:
    setting = find_setting("settings.yaml", "OidcSettings", "client_auth")
    assert setting["anyOf"][0]["enum"] == ["private_key_jwt", "client_secret_basic", "client_secret_post"]


def test_required_keys_are_required() -> None:
    schema = build_json_schema(SCHEMAS["routes.yaml"], "routes.yaml")
    assert set(schema["$defs"]["RouteEntry"]["required"]) == {"path", "target_service", "auth"}
