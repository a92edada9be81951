"""What the identity provider answers, judged from literals: one thing wrong at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.services.control_http import ControlAnswer
from app.services.oidc_answers import (
    MAX_LIFETIME_SECONDS,
    UNKNOWN_LIFETIME_SECONDS,
    AnswerRefusedError,
    IdpFailingError,
    OAuthRefusalError,
    TokenAnswer,
    check_success,
    parse_json_object,
    parse_pushed_request_answer,
    parse_token_answer,
    parse_userinfo_answer,
)

GOOD_TOKEN: dict[str, Any] = {"access_token": "at-1", "token_type": "Bearer", "expires_in": 300}


def build_answer(document: Any, status: int = 200) -> ControlAnswer:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return ControlAnswer(status, {}, body)


def test_a_whole_token_answer_is_taken_as_it_is() -> None:
    answer = parse_token_answer(
        build_answer({**GOOD_TOKEN, "refresh_token": "rt", "id_token": "a.b.c", "scope": "x y", "unknown": [1]})
    )
    assert answer == TokenAnswer("at-1", "Bearer", 300.0, "rt", "a.b.c", "x y")


@pytest.mark.parametrize("spelling", ["Bearer", "bearer", "BEARER"])
def test_the_token_type_is_read_in_any_case(spelling: str) -> None:
    assert parse_token_answer(build_answer({**GOOD_TOKEN, "token_type": spelling})).token_type == "Bearer"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (300, 300.0),
        ("300", 300.0),
        (0.5, 0.5),
        (0, 0.0),
        (None, None),
        (2_147_483_647, float(MAX_LIFETIME_SECONDS)),
        (1e300, float(MAX_LIFETIME_SECONDS)),
    ],
)
def test_a_lifetime_is_a_number_a_number_in_text_or_absent(value: object, seconds: float | None) -> None:
    assert parse_token_answer(build_answer({**GOOD_TOKEN, "expires_in": value})).expires_in_seconds == seconds


def test_a_lifetime_may_be_left_out() -> None:
    document = {name: value for name, value in GOOD_TOKEN.items() if name != "expires_in"}
    answer = parse_token_answer(build_answer(document))
    assert answer.expires_in_seconds is None
    assert answer.to_token_set(1000.0).expires_at is None


def test_a_lifetime_that_is_left_out_is_taken_to_be_short_where_the_token_can_be_renewed() -> None:
    answer = parse_token_answer(build_answer({**GOOD_TOKEN, "expires_in": None, "refresh_token": "rt"}))
    assert answer.to_token_set(1000.0).expires_at == 1000.0 + UNKNOWN_LIFETIME_SECONDS


def test_the_moment_of_expiry_counts_from_the_answer() -> None:
    assert parse_token_answer(build_answer(GOOD_TOKEN)).to_token_set(1000.0).expires_at == 1300.0


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"access_token": None}, id="no-access-token"),
        pytest.param({"access_token": ""}, id="empty-access-token"),
        pytest.param({"access_token": 7}, id="access-token-number"),
        pytest.param({"access_token": "a b"}, id="access-token-space"),
        pytest.param({"access_token": "a\r\nX-User-ID: root"}, id="access-token-line-break"),
        pytest.param({"access_token": "ä"}, id="access-token-not-ascii"),
        pytest.param({"access_token": "a" * 65_537}, id="access-token-too-long"),
        pytest.param({"token_type": None}, id="no-token-type"),
        pytest.param({"token_type": "DPoP"}, id="other-token-type"),
        pytest.param({"token_type": ["Bearer"]}, id="token-type-list"),
        pytest.param({"refresh_token": {}}, id="refresh-token-object"),
        pytest.param({"refresh_token": ""}, id="refresh-token-empty"),
        pytest.param({"id_token": 1}, id="id-token-number"),
        pytest.param({"expires_in": "soon"}, id="expires-in-text"),
        pytest.param({"expires_in": True}, id="expires-in-bool"),
        pytest.param({"expires_in": -1}, id="expires-in-negative"),
        pytest.param({"expires_in": "-1"}, id="expires-in-negative-text"),
        pytest.param({"expires_in": []}, id="expires-in-list"),
    ],
)
def test_a_token_answer_with_one_fault_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(AnswerRefusedError):
        parse_token_answer(build_answer({**GOOD_TOKEN, **changes}))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="html"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'"x"', id="string"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"a": NaN}', id="nan"),
        pytest.param(b'{"a": Infinity}', id="infinity"),
        pytest.param(b"\xff\xfe", id="not-utf-8"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", id="huge-integer"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(AnswerRefusedError):
        parse_json_object(body)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": "invalid_grant"}, "invalid_grant"),
        (401, {"error": "invalid_client"}, "invalid_client"),
        (403, {"error": "<script>alert(1)</script>"}, "unknown"),
        (400, {"error": ["invalid_grant"]}, "unknown"),
        (400, b"", "unknown"),
        (404, b"<html>", "unknown"),
    ],
)
def test_a_refusal_is_known_by_its_code_and_nothing_else(status: int, body: Any, error: str) -> None:
    with pytest.raises(OAuthRefusalError) as caught:
        parse_token_answer(build_answer(body, status))
    assert caught.value.error == error


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_provider_that_cannot_answer_now_is_told_from_one_that_refuses(status: int) -> None:
    with pytest.raises(IdpFailingError):
        parse_token_answer(build_answer({"error": "invalid_grant"}, status))


@pytest.mark.parametrize("status", [204, 301, 302, 307])
def test_a_status_that_fits_nothing_is_refused(status: int) -> None:
    with pytest.raises(AnswerRefusedError):
        check_success(build_answer({}, status), statuses=(200,))


@pytest.mark.parametrize("status", [200, 201])
def test_a_pushed_request_gives_its_reference(status: int) -> None:
    document = {"request_uri": "urn:ietf:params:oauth:request_uri:x", "expires_in": 60}
    assert parse_pushed_request_answer(build_answer(document, status)) == "urn:ietf:params:oauth:request_uri:x"


@pytest.mark.parametrize("value", [None, "", 7, "a b", "x" * 2049, "urn:\n"])
def test_a_pushed_request_without_a_usable_reference_is_refused(value: object) -> None:
    with pytest.raises(AnswerRefusedError):
        parse_pushed_request_answer(build_answer({"request_uri": value}, 201))


def test_userinfo_about_the_same_subject_is_taken() -> None:
    assert parse_userinfo_answer(build_answer({"sub": "alice", "name": "A"}), "alice") == {"sub": "alice", "name": "A"}


@pytest.mark.parametrize("subject", ["bob", None, "", "Alice", ["alice"], "alice "])
def test_userinfo_about_anybody_else_is_refused(subject: object) -> None:
    with pytest.raises(AnswerRefusedError, match="another subject"):
        parse_userinfo_answer(build_answer({"sub": subject, "name": "A"}), "alice")


def test_no_token_is_in_a_repr_or_an_error() -> None:
    answer = parse_token_answer(build_answer({**GOOD_TOKEN, "refresh_token": "rt-secret", "id_token": "it-secret"}))
    assert not any(secret in repr(answer) for secret in ("at-1", "rt-secret", "it-secret"))
    assert "rt-secret" not in repr(answer.to_token_set(0))
    with pytest.raises(AnswerRefusedError) as caught:
        parse_token_answer(build_answer({**GOOD_TOKEN, "refresh_token": "rt secret"}))
    assert "rt secret" not in str(caught.value)
