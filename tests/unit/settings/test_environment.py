from __future__ import annotations

import pytest

from app.settings.environment import list_variables
from tests.unit.settings.config_folder import ConfigFolder


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(folder: ConfigFolder) -> None:
    folder.change("session", {"idle_timeout_seconds": 600, "touch_interval_seconds": 30})
    session = folder.load({"BFF_SESSION__IDLE_TIMEOUT_SECONDS": "700"}).settings.session
    assert session.idle_timeout_seconds == 700
    assert session.touch_interval_seconds == 30
    assert session.absolute_timeout_seconds == 28800


@pytest.mark.parametrize(
    ("variable", "text", "key", "value"),
    [
        ("BFF_ENVIRONMENT", "development", "environment", "development"),
        ("BFF_OIDC__CLIENT_ID", "0123", "oidc.client_id", "0123"),
        ("BFF_OIDC__CLIENT_ID", "true", "oidc.client_id", "true"),
        ("BFF_OIDC__CLIENT_ID", "a: b", "oidc.client_id", "a: b"),
        ("BFF_OIDC__USERINFO", "yes", "oidc.userinfo", True),
        ("BFF_OIDC__SCOPES", "[openid, x]", "oidc.scopes", ("openid", "x")),
        ("BFF_OIDC__TIMEOUT_SECONDS", "2.5", "oidc.timeout_seconds", 2.5),
        ("BFF_SESSION__COOKIE__SAME_SITE", "Lax", "session.cookie.same_site", "Lax"),
        ("BFF_SESSION__COOKIE", "{name: other}", "session.cookie.name", "other"),
        ("BFF_LIMITS", "{login_starts: 5/minute}", "limits.login_starts", "5/minute"),
        ("BFF_LIMITS__LOGIN_STARTS", "", "limits.login_starts", ""),
    ],
)
def test_a_variable_sets_its_key(folder: ConfigFolder, variable: str, text: str, key: str, value: object) -> None:
    found: object = folder.load({variable: text}).settings
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value


def test_a_key_wins_over_its_section(folder: ConfigFolder) -> None:
    cookie = folder.load(
        {"BFF_SESSION__COOKIE": "{name: one, same_site: Lax}", "BFF_SESSION__COOKIE__NAME": "two"}
    ).settings.session.cookie
    assert (cookie.name, cookie.same_site) == ("two", "Lax")


@pytest.mark.parametrize(
    ("variable", "wanted"),
    [
        ("BFF_OIDC_CLIENT_ID", "BFF_OIDC__CLIENT_ID"),
        ("BFF_OIDC__CLIENTID", "BFF_OIDC__CLIENT_ID"),
        ("BFF_OIDC__client_id", "BFF_OIDC__CLIENT_ID"),
        ("BFF_ENVIROMENT", "BFF_ENVIRONMENT"),
        ("BFF_SESION", "BFF_SESSION__<KEY>"),
        ("BFF_NOTHING__AT_ALL", "known"),
        ("BFF_FRONTENDS__0__HOST", "known"),
    ],
)
def test_a_name_that_is_not_known_is_a_fault(folder: ConfigFolder, variable: str, wanted: str) -> None:
    fault = folder.find_fault({variable: "hunter2"})
    assert fault.file == variable
    assert wanted in fault.wanted
    assert "hunter2" not in str(fault)


@pytest.mark.parametrize(
    "variable", ["BFF_BIND", "BFF_CONFIG_DIR", "BFF_SERVICE_HOST", "BFF_PORT", "BFF_PORT_8000_TCP_ADDR", "OTHER__X"]
)
def test_variables_that_are_no_settings_are_left_alone(folder: ConfigFolder, variable: str) -> None:
    assert folder.find_faults({variable: "tcp://10.0.0.1:8000"}) == ()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("BFF_SESSION__IDLE_TIMEOUT_SECONDS", "soon"),
        ("BFF_SESSION__IDLE_TIMEOUT_SECONDS", ""),
        ("BFF_SESSION__IDLE_TIMEOUT_SECONDS", "1.5"),
        ("BFF_OIDC__USERINFO", "1"),
        ("BFF_OIDC__SCOPES", "openid"),
        ("BFF_OIDC__SCOPES", "[openid"),
        ("BFF_SESSION", "7"),
        ("BFF_SESSION", "{cookie"),
        ("BFF_KEYS__ALGORITHM", "HS256"),
    ],
)
def test_a_fault_names_the_variable(folder: ConfigFolder, variable: str, text: str) -> None:
    fault = folder.find_fault({variable: text})
    assert fault.file == variable
    assert fault.line is None


def test_every_fixed_key_of_the_settings_has_a_variable() -> None:
    names = list_variables()
    assert names["BFF_SERVER__PUBLIC_URL"].name == "server.public_url"
    assert names["BFF_OIDC__DCR__INITIAL_ACCESS_TOKEN"].is_secret
    assert "BFF_FRONTENDS" in names
    assert not any("[" in name or "*" in name for name in names)
