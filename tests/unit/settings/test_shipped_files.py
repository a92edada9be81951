"""The files in ServiceConfigs/BFF/config are a working example, and a safe one."""

from __future__ import annotations

import re

import pytest
import yaml

from app.settings import ConfigurationError, load_configuration
from app.settings.sources import DEFAULT_CONFIG_DIR, SCHEMAS

PRODUCTION = {
    "BFF_ENVIRONMENT": "production",
    "PUBLIC_URL": "https://app.example.com",
    "OIDC_ISSUER": "https://idp.example.com",
    "AUTH_CLIENT_ID": "bff",
}


def test_they_pass_the_check_as_they_are() -> None:
    configuration = load_configuration(DEFAULT_CONFIG_DIR, {})
    assert configuration.warnings == ()
    [route] = configuration.route_table.routes
    assert (route.path, route.auth, route.authz) == ("/api/crud/forms/*", "session", "none")
    assert route.service.name == "crud_service"


def test_all_four_are_there() -> None:
    assert {path.name for path in DEFAULT_CONFIG_DIR.iterdir()} == set(SCHEMAS)


def test_they_refuse_production_as_they_are() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(DEFAULT_CONFIG_DIR, {"BFF_ENVIRONMENT": "production"})
    assert {fault.key for fault in caught.value.faults} == {"server.public_url", "oidc.issuer"}


def test_they_need_a_secret_for_a_provider_that_knows_only_secrets() -> None:
    environment = PRODUCTION | {"BFF_OIDC__CLIENT_AUTH": "client_secret_basic"}
    with pytest.raises(ConfigurationError) as caught:
        load_configuration(DEFAULT_CONFIG_DIR, environment)
    assert [fault.key for fault in caught.value.faults] == ["oidc.client_secret"]
    oidc = load_configuration(
        DEFAULT_CONFIG_DIR, environment | {"AUTH_CLIENT_SECRET": "nX4-7bT2_qR9mK5wZ8c"}
    ).settings.oidc
    assert oidc.client_secret.get_secret_value() == "nX4-7bT2_qR9mK5wZ8c"


def test_they_go_to_production_with_the_variables_they_name() -> None:
    configuration = load_configuration(DEFAULT_CONFIG_DIR, PRODUCTION)
    assert configuration.settings.environment == "production"
    assert configuration.settings.server.origin == "https://app.example.com"
    assert configuration.settings.oidc.client_auth == "private_key_jwt"


def test_they_name_every_variable_they_read() -> None:
    text = (DEFAULT_CONFIG_DIR / "settings.yaml").read_text(encoding="utf-8")
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for name in PRODUCTION:
        assert name in comments


def test_the_commented_example_of_a_bearer_issuer_fits_the_schema() -> None:
    text = (DEFAULT_CONFIG_DIR / "idps.yaml").read_text(encoding="utf-8")
    example = "\n".join(re.findall(r"^# ((?:- name|  \w+:).*)$", text, re.MULTILINE))
    assert SCHEMAS["idps.yaml"].model_validate({"idps": yaml.safe_load(example)})
