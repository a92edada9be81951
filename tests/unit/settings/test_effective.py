from __future__ import annotations

import yaml

from app.settings.effective import render_file
from app.settings.loader import load_with_origins
from app.settings.sources import SCHEMAS
from tests.unit.settings.config_folder import GOOD_SECRET, ConfigFolder


def render(folder: ConfigFolder, name: str, environ: dict[str, str] | None = None) -> str:
    configuration, sources = load_with_origins(folder.write(), environ or {})
    return render_file(configuration, sources[name])


def test_every_file_is_shown_as_yaml_that_fits_its_schema(folder: ConfigFolder) -> None:
    folder.pdp = {"endpoint_map": {"/a/{id}": {"GET": {"resource": "a: b", "action": "x", "props": {"k": "$.k"}}}}}
    for name, model in SCHEMAS.items():
        assert model.model_validate(yaml.safe_load(render(folder, name)))


def test_what_is_in_effect_is_shown_with_where_it_comes_from(folder: ConfigFolder) -> None:
    folder.texts["settings.yaml"] = (
        "server: {public_url: https://app.example.com}\n"
        "oidc:\n  issuer: ${ISSUER}\n  client_id: a\n  client_auth: client_secret_basic\n"
        f"  client_secret: {GOOD_SECRET}\n"
    )
    environ = {"ISSUER": "https://idp.example.com", "BFF_SESSION__COOKIE__SAME_SITE": "Lax"}
    lines = [line.strip() for line in render(folder, "settings.yaml", environ).splitlines()]
    assert "issuer: https://idp.example.com  # settings.yaml:3" in lines
    assert "same_site: Lax  # BFF_SESSION__COOKIE__SAME_SITE" in lines
    assert "idle_timeout_seconds: 1800" in lines


def test_lists_of_sections_are_shown(folder: ConfigFolder) -> None:
    shown = yaml.safe_load(render(folder, "routes.yaml"))
    assert shown["routes"][0]["path"] == "/api/forms/*"
    assert shown["routes"][0]["max_body_bytes"] == 10_485_760


def test_secrets_are_masked_and_their_absence_shows(folder: ConfigFolder) -> None:
    folder.change("session.redis_url", "redis://:hunter2hunter2@redis:6379")
    shown = render(folder, "settings.yaml")
    assert GOOD_SECRET not in shown
    assert "hunter2" not in shown
    settings = yaml.safe_load(shown)
    assert settings["oidc"]["client_secret"] == "**********"
    assert settings["oidc"]["dcr"]["initial_access_token"] == ""
