"""The discovery document, one thing wrong at a time, and the one place it is fetched and kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
import responses

from app.core.errors import IdpUnavailableError
from app.services.control_http import ControlHttp
from app.services.oidc_metadata import (
    MetadataRefusedError,
    MetadataSource,
    ProviderMetadata,
    parse_provider_metadata,
)

ISSUER = "https://idp.example.com/realm"
WELL_KNOWN = f"{ISSUER}/.well-known/openid-configuration"
GOOD: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/jwks",
}


def parse(changes: dict[str, Any], *, allow_http: bool = False) -> ProviderMetadata:
    document = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return parse_provider_metadata(document, issuer=ISSUER, allow_http=allow_http)


def test_what_is_needed_is_enough_and_the_rest_is_optional() -> None:
    assert parse({"unknown": {"x": 1}}) == ProviderMetadata(
        ISSUER, f"{ISSUER}/authorize", f"{ISSUER}/token", f"{ISSUER}/jwks"
    )


def test_everything_that_is_used_is_taken() -> None:
    metadata = parse(
        {
            "userinfo_endpoint": "https://other.example/me",
            "end_session_endpoint": f"{ISSUER}/end",
            "revocation_endpoint": f"{ISSUER}/revoke",
            "pushed_authorization_request_endpoint": f"{ISSUER}/par",
            "registration_endpoint": f"{ISSUER}/reg",
            "id_token_signing_alg_values_supported": ["PS256", 7, "ES256"],
            "require_pushed_authorization_requests": True,
            "authorization_response_iss_parameter_supported": True,
        }
    )
    assert metadata.userinfo_endpoint == "https://other.example/me"
    assert metadata.end_session_endpoint == f"{ISSUER}/end"
    assert metadata.revocation_endpoint == f"{ISSUER}/revoke"
    assert metadata.pushed_authorization_request_endpoint == f"{ISSUER}/par"
    assert metadata.registration_endpoint == f"{ISSUER}/reg"
    assert metadata.id_token_signing_algorithms == ("PS256", "ES256")
    assert metadata.requires_pushed_authorization_requests
    assert metadata.sends_issuer_in_callback


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"issuer": None}, id="issuer-missing"),
        pytest.param({"issuer": ISSUER + "/"}, id="issuer-slash"),
        pytest.param({"issuer": "https://evil.example"}, id="issuer-other"),
        pytest.param({"issuer": ISSUER.upper()}, id="issuer-capitals"),
        pytest.param({"issuer": [ISSUER]}, id="issuer-list"),
        pytest.param({"authorization_endpoint": None}, id="authorization-missing"),
        pytest.param({"token_endpoint": None}, id="token-missing"),
        pytest.param({"token_endpoint": ""}, id="token-empty"),
        pytest.param({"jwks_uri": None}, id="jwks-missing"),
        pytest.param({"token_endpoint": 7}, id="token-number"),
        pytest.param({"token_endpoint": "http://idp.example.com/token"}, id="token-http"),
        pytest.param({"authorization_endpoint": "javascript:alert(1)"}, id="authorization-javascript"),
        pytest.param({"jwks_uri": "file:///etc/passwd"}, id="jwks-file"),
        pytest.param({"token_endpoint": "/token"}, id="token-relative"),
        pytest.param({"token_endpoint": "https:///token"}, id="token-no-host"),
        pytest.param({"token_endpoint": "https://user@idp.example.com/token"}, id="token-user"),
        pytest.param({"token_endpoint": "https://idp.example.com/token#x"}, id="token-fragment"),
        pytest.param({"token_endpoint": "https://idp.example.com:99999/token"}, id="token-port"),
        pytest.param({"token_endpoint": "https://idp.example.com/a b"}, id="token-space"),
        pytest.param({"end_session_endpoint": "https://idp.example.com/\r\nX: y"}, id="end-session-line-break"),
        pytest.param({"userinfo_endpoint": "http://idp.example.com/me"}, id="userinfo-http"),
        pytest.param({"revocation_endpoint": []}, id="revocation-list"),
    ],
)
def test_a_document_with_one_fault_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(MetadataRefusedError):
        parse(changes)


def test_http_endpoints_are_for_development_only() -> None:
    changes = {"token_endpoint": "http://127.0.0.1:9400/token"}
    assert parse(changes, allow_http=True).token_endpoint == "http://127.0.0.1:9400/token"
    with pytest.raises(MetadataRefusedError, match="https"):
        parse(changes)


@pytest.mark.parametrize("value", ["true", 1, "yes", None])
def test_a_promise_counts_only_as_a_boolean(value: object) -> None:
    assert not parse({"authorization_response_iss_parameter_supported": value}).sends_issuer_in_callback


class FakeClock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def build_source(clock: FakeClock) -> MetadataSource:
    return MetadataSource(issuer=ISSUER, http=ControlHttp(timeout_seconds=5), clock=clock, allow_http=False)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, "{}"),
        (404, "not here"),
        (302, ""),
        (200, "<html>"),
        (200, "[]"),
        (200, json.dumps({**GOOD, "issuer": "https://evil.example"})),
    ],
)
@responses.activate
def test_a_provider_without_a_good_document_is_unavailable(status: int, body: str) -> None:
    responses.get(WELL_KNOWN, body=body, status=status)
    with pytest.raises(IdpUnavailableError) as caught:
        build_source(FakeClock()).get()
    assert caught.value.internal_reason.startswith("discovery")


@responses.activate
def test_nothing_is_fetched_before_it_is_needed_and_then_once_an_hour() -> None:
    fetches = responses.get(WELL_KNOWN, json=GOOD)
    clock = FakeClock()
    source = build_source(clock)
    assert source.find_cached() is None
    assert fetches.call_count == 0
    source.get()
    clock.now += 3599
    source.get()
    assert fetches.call_count == 1
    clock.now += 1
    source.get()
    assert fetches.call_count == 2


@responses.activate
def test_the_issuers_own_slash_is_not_doubled() -> None:
    document = {**GOOD, "issuer": "https://idp.example.com/"}
    responses.get("https://idp.example.com/.well-known/openid-configuration", json=document)
    source = MetadataSource(
        issuer="https://idp.example.com/", http=ControlHttp(timeout_seconds=5), clock=FakeClock(), allow_http=False
    )
    assert source.get().issuer == "https://idp.example.com/"
