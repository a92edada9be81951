"""What is sent to the identity provider, and how the BFF proves who it is."""

from __future__ import annotations

from base64 import b64decode
from urllib.parse import parse_qsl, urlsplit

import pytest

from app.services.oidc_client_auth import (
    ClientSecretBasic,
    ClientSecretPost,
    PrivateKeyJwt,
    build_client_authenticator,
)
from app.services.oidc_metadata import ProviderMetadata
from app.services.oidc_requests import (
    AuthorizationRequest,
    build_authorization_parameters,
    build_authorization_url,
    build_client_credentials_request,
    build_code_exchange,
    build_end_session_url,
    build_pushed_authorization_url,
)

VERIFIER, CHALLENGE = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
"""The example of RFC 7636, appendix B."""
REQUEST = AuthorizationRequest("https://app.example.com/auth/callback", "the-state", "the-nonce", VERIFIER)


def test_an_authorization_request_holds_everything_once() -> None:
    parameters = build_authorization_parameters(REQUEST, client_id="bff", scope="openid email")
    assert dict(parameters) == {
        "response_type": "code",
        "client_id": "bff",
        "redirect_uri": "https://app.example.com/auth/callback",
        "scope": "openid email",
        "state": "the-state",
        "nonce": "the-nonce",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
    }
    assert len(parameters) == 8


@pytest.mark.parametrize("name", ["scope", "redirect_uri", "state", "nonce", "code_challenge", "client_id"])
def test_a_parameter_of_ours_is_never_overridden(name: str) -> None:
    request = AuthorizationRequest(
        "https://app.example.com/auth/callback", "s", "n", "v" * 43, ((name, "evil"), ("prompt", "login"))
    )
    parameters = build_authorization_parameters(request, client_id="bff", scope="openid")
    assert "evil" not in dict(parameters).values()
    assert ("prompt", "login") in parameters


def test_the_authorization_url_keeps_the_query_of_the_endpoint() -> None:
    parameters = build_authorization_parameters(REQUEST, client_id="b ff", scope="openid email")
    url = build_authorization_url("https://idp.example.com/authorize?tenant=1", parameters)
    assert sorted(parse_qsl(urlsplit(url).query)) == sorted([("tenant", "1"), *parameters])


def test_after_a_push_only_its_reference_travels_through_the_browser() -> None:
    url = build_pushed_authorization_url("https://idp.example.com/authorize", "bff", "urn:x:y")
    assert parse_qsl(urlsplit(url).query) == [("client_id", "bff"), ("request_uri", "urn:x:y")]


def test_a_code_exchange_proves_that_it_is_ours() -> None:
    assert dict(build_code_exchange("c", "https://app.example.com/auth/callback", "v")) == {
        "grant_type": "authorization_code",
        "code": "c",
        "redirect_uri": "https://app.example.com/auth/callback",
        "code_verifier": "v",
    }


@pytest.mark.parametrize("parameter", ["resource", "audience"])
def test_the_audience_of_a_service_is_asked_for_as_the_settings_say(parameter: str) -> None:
    form = build_client_credentials_request("https://crud.example.com", "a b", parameter)
    assert form == (("grant_type", "client_credentials"), ("scope", "a b"), (parameter, "https://crud.example.com"))


def test_no_audience_and_no_scope_are_left_out() -> None:
    assert build_client_credentials_request("", "", "resource") == (("grant_type", "client_credentials"),)


def build_logout_url(id_token_hint: str) -> dict[str, str]:
    metadata = ProviderMetadata("i", "a", "t", "j", end_session_endpoint="https://idp.example.com/end?x=1")
    url = build_end_session_url(
        metadata,
        client_id="bff",
        id_token_hint=id_token_hint,
        post_logout_redirect_uri="https://app.example.com/auth/logged-out",
        state="st",
    )
    assert url.startswith("https://idp.example.com/end?")
    return dict(parse_qsl(urlsplit(url).query))


def test_a_logout_names_session_client_and_way_back() -> None:
    assert build_logout_url("a.b.c") == {
        "x": "1",
        "id_token_hint": "a.b.c",
        "client_id": "bff",
        "post_logout_redirect_uri": "https://app.example.com/auth/logged-out",
        "state": "st",
    }


@pytest.mark.parametrize("hint", ["", "x" * 6145], ids=["none", "too-long-for-a-url"])
def test_a_logout_works_without_a_hint(hint: str) -> None:
    assert "id_token_hint" not in build_logout_url(hint)


def test_basic_credentials_are_form_urlencoded_first() -> None:
    sent = ClientSecretBasic("client:id", "s+e/c %ä").authenticate((("a", "1"),), "https://idp/token")
    scheme, _, credentials = sent.headers["Authorization"].partition(" ")
    assert (scheme, b64decode(credentials).decode()) == ("Basic", "client%3Aid:s%2Be%2Fc+%25%C3%A4")
    assert sent.form == (("a", "1"),)


def test_posted_credentials_stand_in_the_form_once() -> None:
    sent = ClientSecretPost("bff", "s+e").authenticate((("client_id", "bff"), ("a", "1")), "https://idp/par")
    assert sent.headers == {}
    assert sent.form == (("a", "1"), ("client_id", "bff"), ("client_secret", "s+e"))


def test_an_assertion_is_made_for_each_request_and_stands_in_the_form_once() -> None:
    endpoints: list[str] = []

    def sign(endpoint: str) -> str:
        endpoints.append(endpoint)
        return f"assertion-{len(endpoints)}"

    authenticator = PrivateKeyJwt("bff", sign)
    form = (("client_id", "bff"), ("a", "1"))
    sent = [authenticator.authenticate(form, f"https://idp/{name}") for name in ("par", "token")]
    assert endpoints == ["https://idp/par", "https://idp/token"]
    assert [request.headers for request in sent] == [{}, {}]
    assert [request.form for request in sent] == [
        (
            ("a", "1"),
            ("client_id", "bff"),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", f"assertion-{number}"),
        )
        for number in (1, 2)
    ]
    assert "assertion-1" not in repr(sent[0])


def test_the_authenticator_is_the_one_that_the_settings_name() -> None:
    assert isinstance(build_client_authenticator("client_secret_basic", "a", "b"), ClientSecretBasic)
    assert isinstance(build_client_authenticator("client_secret_post", "a", "b"), ClientSecretPost)
    assert isinstance(build_client_authenticator("private_key_jwt", "a", "", str), PrivateKeyJwt)
    with pytest.raises(ValueError, match="not available"):
        build_client_authenticator("private_key_jwt", "a", "")


def test_no_secret_is_in_a_repr() -> None:
    for value in (ClientSecretBasic("a", "hidden"), ClientSecretPost("a", "hidden")):
        assert "hidden" not in repr(value)
        assert "hidden" not in repr(value.authenticate((), ""))
    text = repr(REQUEST)
    assert not any(secret in text for secret in ("the-state", "the-nonce", VERIFIER))
