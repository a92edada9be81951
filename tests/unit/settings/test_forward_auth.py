"""`forward_auth` entries that could never say yes, or tie, are refused at start."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.settings.config_folder import ConfigFolder


@pytest.fixture
def edge_folder(folder: ConfigFolder) -> ConfigFolder:
    folder.change("server.trusted_proxies", ["10.0.0.0/8"])
    folder.change("session.cookie.domain", "example.com")
    return folder


def test_sound_entries_are_taken(edge_folder: ConfigFolder) -> None:
    edge_folder.routes["forward_auth"] = [
        {"host": "PDP.example.com"},
        {"host": "pdp.example.com", "path": "/admin/*"},
        {"host": "app.example.com", "path": "/tools/*", "login_redirect": True},
    ]
    configuration = edge_folder.load()
    assert configuration.warnings == ()
    match = configuration.forward_auth.find("pdp.example.com", "/x")
    assert match is not None
    assert (match.rule.authz, match.rule.login_redirect) == ("none", False)


@pytest.mark.parametrize(
    ("domain", "entries", "key"),
    [
        pytest.param("", [{"host": "pdp.example.com"}], "forward_auth[0].host", id="cookie-of-one-host"),
        pytest.param(
            "example.com", [{"host": "pdp.example.net"}], "forward_auth[0].host", id="cookie-of-another-domain"
        ),
        pytest.param("example.com", [{"host": "evilexample.com"}], "forward_auth[0].host", id="not-below-the-domain"),
        pytest.param(
            "example.com",
            [{"host": "pdp.example.com", "login_redirect": True}],
            "forward_auth[0].login_redirect",
            id="no-way-back-from-the-login",
        ),
        pytest.param(
            "example.com",
            [{"host": "pdp.example.com"}, {"host": "pdp.example.com", "path": "/*"}],
            "forward_auth[1].path",
            id="same-path",
        ),
        pytest.param(
            "example.com",
            [{"host": "pdp.example.com", "path": "/a/{x}/c"}, {"host": "pdp.example.com", "path": "/a/b/{y}"}],
            "forward_auth[1].path",
            id="tie",
        ),
    ],
)
def test_an_entry_that_cannot_stand_is_refused(
    edge_folder: ConfigFolder, domain: str, entries: list[dict[str, Any]], key: str
) -> None:
    edge_folder.change("session.cookie.domain", domain)
    edge_folder.routes["forward_auth"] = entries
    fault = edge_folder.find_fault()
    assert (fault.file, fault.key) == ("routes.yaml", key)


def test_entries_without_a_trusted_edge_are_warned_of(edge_folder: ConfigFolder) -> None:
    edge_folder.change("server.trusted_proxies", None)
    edge_folder.routes["forward_auth"] = [{"host": "pdp.example.com"}]
    assert any("trusted_proxies is empty" in warning for warning in edge_folder.load().warnings)


# Entries that ask the decision point

READ = {"resource": "graph", "action": "read"}
PDP = {"connection": {"base_url": "http://pdp:8001"}}


def test_an_entry_that_says_nothing_asks_as_the_default_says(edge_folder: ConfigFolder) -> None:
    edge_folder.pdp = {**PDP, "endpoint_map": {"/*": dict.fromkeys(("GET", "POST", "PUT", "PATCH", "DELETE"), READ)}}
    edge_folder.change("authz.default", "pdp")
    edge_folder.routes["forward_auth"] = [{"host": "pdp.example.com"}, {"host": "app.example.com", "authz": "none"}]
    table = edge_folder.load().forward_auth
    assert [rule.authz for rule in table.rules] == ["pdp", "none"]


@pytest.mark.parametrize(
    ("entry", "pdp", "file", "key"),
    [
        pytest.param({}, PDP, "routes.yaml", "forward_auth[0].authz_map", id="D8-no-mapping"),
        pytest.param(
            {}, {**PDP, "endpoint_map": {"/other/*": {"GET": READ}}}, "routes.yaml", "forward_auth[0].authz_map",
            id="D8-mapping-of-other-paths",
        ),
        pytest.param(
            {}, {**PDP, "endpoint_map": {"/graphs/*": {"PUT": {**READ, "id_from": "$.id"}}}}, "routes.yaml",
            "forward_auth[0].authz_map", id="D8-mapping-by-a-body",
        ),
        pytest.param({"authz_map": {"GET": READ}}, {}, "pdp.yaml", "connection.base_url", id="nobody-to-ask"),
        pytest.param(
            {"authz_map": {"PUT": {**READ, "props": {"kind": "$.kind"}}}}, PDP, "routes.yaml",
            "forward_auth[0].authz_map.PUT.props.kind", id="a-body-that-stays-with-the-edge",
        ),
        pytest.param(
            {"authz_map": {"GET": {**READ, "id_from": "{nobody}"}}}, PDP, "routes.yaml",
            "forward_auth[0].authz_map.GET.id_from", id="unknown-placeholder",
        ),
    ],
)  # fmt: skip
def test_an_entry_whose_permission_cannot_be_asked_for_is_refused(
    edge_folder: ConfigFolder, entry: dict[str, Any], pdp: dict[str, Any], file: str, key: str
) -> None:
    edge_folder.pdp = pdp
    edge_folder.routes["forward_auth"] = [{"host": "pdp.example.com", "path": "/graphs/*", "authz": "pdp", **entry}]
    fault = edge_folder.find_fault()
    assert (fault.file, fault.key) == (file, key)


@pytest.mark.parametrize(
    ("entry", "endpoint_map"),
    [({"authz_map": {"GET": {**READ, "id_from": "{path}"}}}, {}), ({}, {"/graphs/{id}": {"GET": READ}})],
    ids=["its-own", "endpoint-map"],
)
def test_one_mapping_is_enough(edge_folder: ConfigFolder, entry: dict[str, Any], endpoint_map: dict[str, Any]) -> None:
    edge_folder.pdp = {**PDP, "endpoint_map": endpoint_map}
    edge_folder.routes["forward_auth"] = [{"host": "pdp.example.com", "path": "/graphs/*", "authz": "pdp", **entry}]
    assert edge_folder.load().warnings == ()


def test_a_mapping_without_effect_is_warned_of(edge_folder: ConfigFolder) -> None:
    edge_folder.routes["forward_auth"] = [{"host": "pdp.example.com", "authz_map": {"GET": READ}}]
    assert any("authz_map is without effect" in warning for warning in edge_folder.load().warnings)
