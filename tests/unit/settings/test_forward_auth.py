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
    rule = configuration.forward_auth.find("pdp.example.com", "/x")
    assert rule is not None
    assert (rule.authz, rule.login_redirect) == ("none", False)


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
