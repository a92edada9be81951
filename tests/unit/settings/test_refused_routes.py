"""Each route, or pair of routes, that must keep the BFF from starting does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.settings.config_folder import ConfigFolder

ROUTE_TABLE: list[Any] = [
    pytest.param({"auth": None}, "auth", "required", id="O6-no-auth"),
    pytest.param({"auth": "sesion"}, "auth", "'session'", id="O6-misspelt-auth"),
    pytest.param({"path": None}, "path", "required", id="no-path"),
    pytest.param({"path": "/api/../admin/*"}, "path", "dot segment", id="P4-dot-segment"),
    pytest.param({"path": "/api/%61/*"}, "path", "without %", id="P5-encoded"),
    pytest.param({"path": "/api/a;b/*"}, "path", "without %", id="P10-semicolon"),
    pytest.param({"path": "/api//a/*"}, "path", "empty segment", id="P8-slashes"),
    pytest.param({"path": "/api/*/x"}, "path", "at the end", id="star-inside"),
    pytest.param({"path": "/api*"}, "path", "segment", id="P14-star-within-a-segment"),
    pytest.param({"path": "/auth/login", "upstream_path": "/x"}, "path", "own endpoints", id="own-endpoint"),
    pytest.param({"path": "/admin/*"}, "path", "own endpoints", id="own-prefix"),
    pytest.param({"path": "/api/me/sessions/{x}", "upstream_path": "/x"}, "path", "own endpoints", id="own-pattern"),
    pytest.param({"target_service": None}, "target_service", "required", id="no-service"),
    pytest.param({"target_service": "crub"}, "target_service", "did you mean crud", id="unknown-service"),
    pytest.param({"upstream_path": None}, "upstream_path", "preserve_path: true", id="neither-upstream-nor-preserve"),
    pytest.param({"preserve_path": True}, "upstream_path", "preserve_path is true", id="both-upstream-and-preserve"),
    pytest.param({"upstream_path": "/forms/{id}"}, "upstream_path", "no {id}", id="unknown-placeholder"),
    pytest.param({"path": "/api/x"}, "upstream_path", "no {path}", id="path-without-star"),
    pytest.param({"upstream_path": "//evil.example.com/{path}"}, "upstream_path", "a path", id="P20-authority"),
    pytest.param({"upstream_path": "/../{path}"}, "upstream_path", "a path", id="P21-escape"),
    pytest.param({"methods": []}, "methods", "at least one", id="no-methods"),
    pytest.param({"methods": ["GET", "TRACE"]}, "methods[1]", "never TRACE", id="P16-trace"),
    pytest.param({"methods": ["get"]}, "methods[0]", "capitals", id="small-letters"),
    pytest.param({"auth": "none"}, "auth", "user's token", id="user-token-for-anybody"),
    pytest.param({"request_cookies": ["bff_session"]}, "request_cookies[0]", "BFF's own", id="H10-cookie-up"),
    pytest.param(
        {"response_cookies": ["__Host-bff_session"]}, "response_cookies[0]", "BFF's own", id="H10-cookie-down"
    ),
    pytest.param({"response_cookies": ["bff_csrf"]}, "response_cookies[0]", "BFF's own", id="H10-csrf-cookie"),
    pytest.param({"request_cookies": ["a b"]}, "request_cookies[0]", "a cookie name", id="broken-cookie-name"),
    pytest.param({"allow_in_path": ["dots"]}, "allow_in_path[0]", "'encoded_slash'", id="unknown-option"),
    pytest.param({"websocket": True, "methods": ["POST"]}, "methods", "GET among them", id="websocket-without-get"),
    pytest.param({"max_body_bytes": -1}, "max_body_bytes", "0 or more", id="negative-size"),
    pytest.param({"max_age_seconds": -1}, "max_age_seconds", "0 or more", id="negative-age"),
    pytest.param({"acr_values": ["a b"]}, "acr_values[0]", "without spaces", id="two-classes-in-one"),
    pytest.param({"acr_values": ['a"b']}, "acr_values[0]", "quotes", id="class-that-ends-its-quotes"),
    pytest.param({"acr_values": [""]}, "acr_values[0]", "text", id="empty-class"),
    pytest.param({"streaming": "yes"}, "streaming", "true or false", id="text-for-a-flag"),
    pytest.param({"id": "a b"}, "id", "an id", id="broken-id"),
    pytest.param({"targetservice": "x"}, "targetservice", "did you mean target_service", id="O6-misspelt-key"),
]


@pytest.mark.parametrize(("changes", "key", "wanted"), ROUTE_TABLE)
def test_a_route_is_refused(folder: ConfigFolder, changes: dict[str, Any], key: str, wanted: str) -> None:
    folder.change_route(**changes)
    fault = folder.find_fault()
    assert (fault.file, fault.key) == ("routes.yaml", f"routes[0].{key}")
    assert wanted in fault.wanted


def test_equal_paths_are_refused_with_both_lines(folder: ConfigFolder) -> None:
    folder.texts["routes.yaml"] = (
        "services: {crud: {base_url: 'http://crud'}}\n"
        "routes:\n"
        "- {path: /a/*, target_service: crud, upstream_path: /a, auth: none, id: one}\n"
        "- {path: /a/*, target_service: crud, upstream_path: /b, auth: none, id: two}\n"
    )
    fault = folder.find_fault()
    assert (fault.line, fault.key) == (4, "routes[1].path")
    assert fault.wanted == "another path: this one is already at line 3"


def test_tied_paths_are_refused(folder: ConfigFolder) -> None:
    folder.change_route(path="/a/{x}/c", upstream_path="/x")
    folder.add_route(path="/a/b/{y}", upstream_path="/x")
    fault = folder.find_fault()
    assert fault.key == "routes[1].path"
    assert "/a/{x}/c" in fault.wanted


def test_an_id_given_twice_is_refused(folder: ConfigFolder) -> None:
    folder.change_route(id="one")
    folder.add_route(path="/b/*", id="one")
    fault = folder.find_fault()
    assert fault.key == "routes[1].id"
    assert "/api/forms/*" in fault.wanted


def test_paths_that_make_the_same_id_ask_for_ids(folder: ConfigFolder) -> None:
    folder.change_route(path="/a", upstream_path="/x")
    folder.add_route(path="/a/*")
    assert folder.find_fault().key == "routes[1].id"


@pytest.mark.parametrize(("key", "value"), [("max_age_seconds", 300), ("acr_values", ["gold"])])
def test_a_login_that_cannot_be_asked_for_cannot_be_demanded(folder: ConfigFolder, key: str, value: object) -> None:
    folder.change_route(**{key: value})
    folder.change("oidc.login_parameters", ["prompt"])
    assert "oidc.login_parameters" in folder.find_fault().wanted
    folder.change("oidc.login_parameters", ["prompt", "max_age", "acr_values"])
    assert folder.find_faults() == ()


@pytest.mark.parametrize("auth", ["none", "bearer"])
@pytest.mark.parametrize(("key", "value"), [("max_age_seconds", 300), ("acr_values", ["gold"])])
def test_where_nobody_logs_in_no_login_can_be_demanded(
    folder: ConfigFolder, key: str, value: object, auth: str
) -> None:
    folder.change_service("token", {"mode": "none"})
    folder.change_route(**{"auth": auth, key: value})
    faults = {fault.key: fault for fault in folder.find_faults()}
    assert faults[f"routes[0].{key}"].wanted == f"nothing: with auth {auth} there is no login"


def test_a_mapping_for_a_method_the_route_refuses_is_refused(folder: ConfigFolder) -> None:
    mapping = {"resource": "form", "action": "read", "id_from": "{id}"}
    folder.change_route(methods=["GET"], authz_map={"POST": mapping, "HEAD": mapping})
    keys = {fault.key for fault in folder.find_faults()}
    assert {"routes[0].authz_map.POST", "routes[0].authz_map.HEAD.id_from"} <= keys
    assert "routes[0].authz_map.HEAD" not in keys
