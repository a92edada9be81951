"""The answer to a registration, with one thing wrong at a time."""

from __future__ import annotations

from typing import Any

import pytest

from app.services.client_registration.problems import ProblemCode
from app.services.oidc_metadata import ProviderMetadata
from tests.unit.observability.captured_lines import CapturedLines
from tests.unit.observability.conftest import captured
from tests.unit.services.client_registration.registration_world import (
    CLIENT_URI,
    ENDPOINT,
    ISSUER,
    REGISTRATION_TOKEN,
    TOKEN,
    World,
    keep,
    move,
    world,
)

__all__ = ["captured", "world"]


@pytest.mark.parametrize("status", [200, 201])
def test_a_good_answer_makes_a_client(world: World, status: int) -> None:
    assert world.register(status) is None
    client = world.record().client
    assert client is not None
    assert (client.client_id, client.issuer, client.registration_client_uri) == ("c-1", ISSUER, CLIENT_URI)
    assert world.store.open_token(client) == REGISTRATION_TOKEN


REFUSED_FOR_WHAT_IS_IN_IT = [
    pytest.param({"redirect_uris": ["https://evil.example/cb"]}, id="other-redirect-uri"),
    pytest.param(
        {"redirect_uris": ["https://app.example.com/auth/callback", "https://evil.example"]}, id="one-redirect-uri-more"
    ),
    pytest.param({"redirect_uris": []}, id="no-redirect-uris"),
    pytest.param({"redirect_uris": "https://app.example.com/auth/callback"}, id="redirect-uris-no-list"),
    pytest.param({"jwks_uri": "https://evil.example/jwks"}, id="other-jwks-uri"),
    pytest.param({"token_endpoint_auth_method": "client_secret_basic"}, id="other-auth-method"),
    pytest.param({"token_endpoint_auth_method": "none"}, id="no-authentication"),
    pytest.param({"token_endpoint_auth_method": None, "client_secret": "s" * 32}, id="a-secret-instead"),
    pytest.param({"token_endpoint_auth_method": ["private_key_jwt"]}, id="auth-method-in-a-list"),
    pytest.param({"registration_client_uri": "https://evil.example/reg/c-1"}, id="client-uri-elsewhere"),
    pytest.param({"registration_client_uri": "http://idp.example.com/reg/c-1"}, id="client-uri-over-http"),
    pytest.param({"registration_client_uri": "https://idp.example.com:8443/reg"}, id="client-uri-on-another-port"),
    pytest.param({"registration_client_uri": "https://idp.example.com@evil.example/"}, id="client-uri-with-user"),
    pytest.param({"registration_client_uri": "https://evil.example\\@idp.example.com/"}, id="client-uri-backslash"),
    pytest.param({"registration_client_uri": "/reg/c-1"}, id="client-uri-relative"),
    pytest.param({"registration_client_uri": "https://[/"}, id="client-uri-malformed"),
    pytest.param({"registration_client_uri": 7}, id="client-uri-a-number"),
    pytest.param({"registration_access_token": "two\r\nlines"}, id="token-that-ends-a-header"),
    pytest.param({"registration_access_token": ["t"]}, id="token-in-a-list"),
    pytest.param({"registration_access_token": "t" * 70_000}, id="token-without-end"),
]


@pytest.mark.parametrize("changes", REFUSED_FOR_WHAT_IS_IN_IT)
def test_a_client_that_must_not_be_used_is_refused(
    world: World, captured: CapturedLines, changes: dict[str, Any]
) -> None:
    assert world.register(body=world.answer(**changes)) == ProblemCode.ANSWER_REFUSED
    check_that_nothing_was_kept(world, captured, "answer_refused")


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(201, {"client_id": None}, id="no-client-id"),
        pytest.param(201, {"client_id": ""}, id="empty-client-id"),
        pytest.param(201, {"client_id": 17}, id="client-id-a-number"),
        pytest.param(201, {"client_id": "a\nb"}, id="client-id-of-two-lines"),
        pytest.param(201, {"client_id": "x" * 1025}, id="client-id-without-end"),
        pytest.param(200, "<html>Welcome</html>", id="a-page"),
        pytest.param(201, "", id="nothing"),
        pytest.param(201, "[]", id="a-list"),
        pytest.param(201, b"\xff", id="bad-utf8"),
        pytest.param(201, "[" * 100_000, id="nested-too-deep"),
        pytest.param(201, b'{"client_id": "c-1"' + b" " * 10_000_000 + b"}", id="ten-megabytes"),
        pytest.param(500, {"error": "server_error"}, id="500"),
        pytest.param(502, "", id="502"),
        pytest.param(504, "<html>", id="504"),
    ],
)
def test_an_answer_that_leaves_open_what_happened_spends_the_token(
    world: World, captured: CapturedLines, status: int, body: Any
) -> None:
    whole = world.answer(**body) if isinstance(body, dict) and "client_id" in body else body
    assert world.register(status, whole) == ProblemCode.OUTCOME_UNKNOWN
    check_that_nothing_was_kept(world, captured, "outcome_unknown")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        pytest.param(400, {"error": "invalid_redirect_uri"}, ProblemCode.METADATA_REFUSED, id="redirect-uri"),
        pytest.param(400, {"error": "invalid_client_metadata"}, ProblemCode.METADATA_REFUSED, id="client-metadata"),
        pytest.param(400, {"error": "invalid_software_statement"}, ProblemCode.METADATA_REFUSED, id="statement"),
        pytest.param(400, "", ProblemCode.METADATA_REFUSED, id="empty-400"),
        pytest.param(404, "", ProblemCode.METADATA_REFUSED, id="404"),
        pytest.param(302, "", ProblemCode.METADATA_REFUSED, id="redirect"),
        pytest.param(401, {"error": "invalid_token"}, ProblemCode.TOKEN_REFUSED, id="invalid-token"),
        pytest.param(401, "", ProblemCode.TOKEN_REFUSED, id="empty-401"),
        pytest.param(403, "<html>no</html>", ProblemCode.TOKEN_REFUSED, id="403"),
        pytest.param(400, {"error": "invalid_token"}, ProblemCode.TOKEN_REFUSED, id="invalid-token-with-400"),
    ],
)
def test_a_refusal_makes_no_client(
    world: World, captured: CapturedLines, status: int, body: Any, code: ProblemCode
) -> None:
    assert world.register(status, body) == code
    check_that_nothing_was_kept(world, captured, code.value)
    # What was refused for what it asks may be asked again; a token that was refused may not.
    assert world.register() == (None if code == ProblemCode.METADATA_REFUSED else code)


def check_that_nothing_was_kept(world: World, captured: CapturedLines, problem: str) -> None:
    assert len(world.calls) == 1, "nothing was sent with what came back"
    assert world.record().client is None
    assert REGISTRATION_TOKEN not in world.path.read_text(encoding="utf-8")
    [line] = captured.of("audit")
    assert (line["event"], line["problem"]) == ("registration.failed", problem)
    for secret in (TOKEN, REGISTRATION_TOKEN, "evil.example", "s" * 32):
        assert secret not in captured.text


def test_a_secret_that_comes_unasked_is_not_kept(world: World) -> None:
    assert world.register(body=world.answer(client_secret="s" * 32, client_secret_expires_at=0)) is None
    assert "s" * 32 not in world.path.read_text(encoding="utf-8")


def test_members_that_are_left_out_added_or_chosen_otherwise_are_the_providers(world: World) -> None:
    answer = world.answer(
        post_logout_redirect_uris=None, scope="openid everything", contacts=[], x_provider={"tier": 3}, client_name="c"
    )
    assert world.register(body=answer) is None
    assert keep(world, answer) is None
    assert [call for call, _ in world.calls] == [f"POST {ENDPOINT}", f"GET {CLIENT_URI}"]


@pytest.mark.parametrize("left_out", ["registration_client_uri", "registration_access_token"])
def test_without_a_way_to_change_it_a_client_is_only_kept(world: World, captured: CapturedLines, left_out: str) -> None:
    assert world.register(body=world.answer(**{left_out: None})) is None
    assert world.build().ensure().problem is None
    assert len(world.calls) == 1
    assert [line["event"] for line in captured.of("event")] == ["client_registration.unmanaged"]

    world.settings = move(world.settings)
    outcome = world.build().ensure()
    assert outcome.problem is not None
    assert outcome.problem.code == ProblemCode.UPDATE_REFUSED
    assert "redirect_uris" in outcome.problem.reason
    assert len(world.calls) == 1


def test_while_the_provider_is_down_nothing_is_written_down(world: World) -> None:
    world.provider = None
    outcome = world.build().ensure()
    assert outcome.problem is not None
    assert outcome.problem.code == ProblemCode.PROVIDER_UNAVAILABLE
    assert not world.path.exists()


def test_a_provider_without_registration_gets_no_token(world: World) -> None:
    world.provider = ProviderMetadata(ISSUER, f"{ISSUER}/a", f"{ISSUER}/t", f"{ISSUER}/j")
    outcome = world.build().ensure()
    assert outcome.problem is not None
    assert outcome.problem.code == ProblemCode.NOT_SUPPORTED
    assert world.record().attempt is None
