from __future__ import annotations

from pathlib import Path

import pytest

from app.observability.redaction import REDACTED, is_secret_name, redact_field, redact_text

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
SECRET = "Zm9yLXlvdXItZXllcy1vbmx5"


@pytest.mark.parametrize(
    "name",
    [
        "authorization", "Authorization", "cookie", "Set-Cookie", "token", "access_token", "accessToken",
        "refresh_token", "id_token_hint", "code", "state", "client_secret", "secret", "password", "assertion",
        "client_assertion", "code_verifier", "nonce", "ticket", "session_id", "private_key", "api_key",
        "X-CSRF-Token", "csrf.token",
    ],
)  # fmt: skip
def test_a_secret_name_is_known_however_it_is_spelled(name: str) -> None:
    assert is_secret_name(name)
    assert redact_field(name, SECRET) == REDACTED


@pytest.mark.parametrize(
    "name",
    ["session", "user_id", "kid", "path", "status_code", "token_type", "encoded", "statement", "codec", "reason"],
)
def test_an_ordinary_name_is_no_secret(name: str) -> None:
    assert redact_field(name, "plain") == "plain"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"got {JWT} from the provider", id="jwt"),
        pytest.param(f"{JWT.rsplit('.', 1)[0]}.", id="unsigned-jwt"),
        pytest.param(f"Authorization: Bearer {SECRET}", id="header-line"),
        pytest.param(f"bearer {SECRET}", id="bearer"),
        pytest.param(f"Basic {SECRET}==", id="basic"),
        pytest.param(f"GET /auth/callback?code={SECRET}&state=x HTTP/1.1", id="code-in-query"),
        pytest.param(f"GET /auth/callback?iss=https://op&state={SECRET}", id="state-in-query"),
        pytest.param(f"https://op/token?client_secret={SECRET}", id="client-secret-in-url"),
        pytest.param(f"grant_type=refresh_token&refresh_token={SECRET}", id="form"),
        pytest.param(f'{{"access_token": "{SECRET}", "token_type": "Bearer"}}', id="json"),
        pytest.param(str({"refresh_token": SECRET}), id="dict-repr"),
        pytest.param(f"b'GET / HTTP/1.1\\r\\nCookie: a=b; x={SECRET}\\r\\nHost: a'", id="bytes-repr"),
        pytest.param(f"b'POST / HTTP/1.1\\r\\n\\r\\ncode={SECRET}&x=1'", id="body-in-bytes-repr"),
        pytest.param(f"Cookie: a=b; x={SECRET}", id="cookie-line"),
        pytest.param(str({"Set-Cookie": f"x={SECRET}; Path=/"}), id="headers-repr"),
        pytest.param(f"__Host-Http-bff_session={SECRET}; Path=/", id="session-cookie"),
        pytest.param(f"redis://user:{SECRET}@redis:6379/0", id="url-credentials"),
        pytest.param(f"/auth/logout/continue?ticket={SECRET}", id="ticket"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out_of_a_text(text: str) -> None:
    redacted = redact_text(text)

    assert SECRET not in redacted
    assert "eyJ" not in redacted
    assert REDACTED in redacted


@pytest.mark.parametrize(
    "text",
    [
        "the upstream answered status_code=502 after 3 tries",
        "Listening at: http://127.0.0.1:8000,http://127.0.0.1:9000 (17)",
        "route crud-forms of service crud_service",
        "GET /api/crud/forms?page=2&sort=state HTTP/1.1",
    ],
)
def test_an_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact_text(text) == text


def test_what_follows_a_redacted_header_line_stays() -> None:
    assert redact_text(f"Cookie: x={SECRET}\r\nHost: app.example.com").endswith("\r\nHost: app.example.com")


def test_secrets_are_found_at_any_depth() -> None:
    fields = {"request": {"headers": [{"name": "x", "cookie": SECRET}], "note": f"Bearer {SECRET}"}}

    assert SECRET not in str(redact_field("call", fields))


def test_our_own_error_codes_are_not_taken_for_authorization_codes() -> None:
    assert redact_field("code", "csrf_failed") == "csrf_failed"
    assert redact_field("code", SECRET) == REDACTED
    assert redact_field("code", {"code": SECRET}) == REDACTED


class Tempting:
    def __repr__(self) -> str:
        return SECRET

    __str__ = __repr__


@pytest.mark.parametrize("value", [Tempting(), SECRET.encode(), [Tempting()], {"x": Tempting()}])
def test_only_plain_values_are_shown(value: object) -> None:
    assert SECRET not in str(redact_field("value", value))


def test_an_exception_given_as_a_field_shows_its_redacted_message() -> None:
    assert redact_field("error", ValueError(f"token={SECRET} refused")) == f"token={REDACTED} refused"


def test_plain_values_keep_their_types() -> None:
    assert redact_field("fields", {"a": 1, "b": 2.5, "c": True, "d": None, "e": Path("/var/state")}) == {
        "a": 1, "b": 2.5, "c": True, "d": None, "e": "/var/state",
    }  # fmt: skip


def test_a_very_deep_value_ends_somewhere() -> None:
    value: object = "end"
    for _ in range(50):
        value = [value]

    assert "end" not in str(redact_field("deep", value))


def test_a_long_text_is_cut_after_it_was_redacted() -> None:
    assert redact_text("x" * 5000, 100) == "x" * 100 + "…"
    assert SECRET[:5] not in redact_text("x" * 90 + f" code={SECRET}", 100)


def test_a_text_without_a_utf_8_form_is_made_printable() -> None:
    assert redact_text("file \udc80") == "file \\udc80"
