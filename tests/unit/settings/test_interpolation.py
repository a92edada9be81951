from __future__ import annotations

import pytest

from app.settings.interpolation import UnfilledVariableError, fill_text
from app.settings.schema.values import UntypedText
from tests.unit.settings.config_folder import ConfigFolder

ENVIRON = {"HOST": "idp.example.com", "EMPTY": "", "NESTED": "${HOST}"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("https://${HOST}/x", "https://idp.example.com/x"),
        ("${HOST}${HOST}", "idp.example.comidp.example.com"),
        ("${HOST:-other}", "idp.example.com"),
        ("${MISSING:-other}", "other"),
        ("${MISSING:-http://a:80/b}", "http://a:80/b"),
        ("${MISSING:-}", ""),
        ("${EMPTY:-other}", "other"),
        ("${EMPTY}", ""),
        ("${NESTED}", "${HOST}"),
        ("$${HOST}", "${HOST}"),
        ("$$", "$$"),
        ("$HOST", "$HOST"),
        ("100%", "100%"),
    ],
)
def test_variables_are_filled_once(text: str, filled: str) -> None:
    assert fill_text(text, ENVIRON) == filled


@pytest.mark.parametrize("text", ["${MISSING}", "${", "${}", "${1X}", "${A-b}", "${A:-${HOST}}", "${A:-{}}", "${HOST"])
def test_what_cannot_be_filled_is_refused(text: str) -> None:
    with pytest.raises(UnfilledVariableError):
        fill_text(text, ENVIRON)


def test_filled_text_has_no_type_and_other_text_keeps_its_own() -> None:
    assert isinstance(fill_text("${HOST}", ENVIRON), UntypedText)
    assert not isinstance(fill_text("x", ENVIRON), UntypedText)


def test_an_unset_variable_is_a_fault_with_its_line(folder: ConfigFolder) -> None:
    folder.texts["settings.yaml"] = (
        "server:\n  public_url: ${PUBLIC_URL}\n"
        "oidc: {issuer: https://i, client_id: a, client_auth: client_secret_post, client_secret: abcdefghijklmnop}\n"
    )
    fault = folder.find_fault()
    assert (fault.file, fault.line, fault.key) == ("settings.yaml", 2, "server.public_url")
    assert "PUBLIC_URL" in fault.found
    assert "${PUBLIC_URL:-" in fault.wanted


def test_an_unset_variable_does_not_matter_where_the_environment_says_the_key(folder: ConfigFolder) -> None:
    folder.change("oidc.issuer", "${NOT_SET}")
    configuration = folder.load({"BFF_OIDC__ISSUER": "https://other.example.com"})
    assert configuration.settings.oidc.issuer == "https://other.example.com"


def test_the_field_decides_what_a_variable_is(folder: ConfigFolder) -> None:
    folder.change("oidc.client_id", "${ID}")
    folder.change("oidc.userinfo", "${USERINFO}")
    folder.change("session.idle_timeout_seconds", "${IDLE:-900}")
    folder.change("cors.allow_origins", "${ORIGINS}")
    folder.change("session.cookie", "${COOKIE}")
    settings = folder.load(
        {"ID": "0123", "USERINFO": "true", "ORIGINS": "[https://a.example.com]", "COOKIE": "{same_site: Lax}"}
    ).settings
    assert settings.oidc.client_id == "0123"
    assert settings.oidc.userinfo is True
    assert settings.session.idle_timeout_seconds == 900
    assert settings.cors.allow_origins == ("https://a.example.com",)
    assert settings.session.cookie.same_site == "Lax"
    assert type(settings.oidc.client_id) is str


def test_a_variable_cannot_change_the_shape_of_a_file(folder: ConfigFolder) -> None:
    folder.change("oidc.client_id", "${ID}")
    settings = folder.load({"ID": "x\n  issuer: https://evil.example.com\n"}).settings
    assert settings.oidc.issuer == "https://idp.example.com"
    assert settings.oidc.client_id.startswith("x\n")


def test_variables_are_filled_in_all_four_files(folder: ConfigFolder) -> None:
    folder.change_service("base_url", "http://${CRUD}:8080")
    folder.pdp = {"connection": {"base_url": "${PDP:-}"}}
    folder.idps = {"idps": "${IDPS:-[]}"}
    configuration = folder.load({"CRUD": "crud-1"})
    assert configuration.services["crud"].base_urls == ("http://crud-1:8080",)
    assert configuration.pdp.connection.base_url == ""
    assert configuration.idps == ()
