"""What a provider may get wrong, one thing at a time, on the wire of the real one: each refused, none a session.

`login_failed`: the provider said what it should not have. `idp_unavailable`: it cannot be worked with right now.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.integration.login_world import Browser, World, query_of, world
from tests.integration.refused_logins import assert_refused, every_refusal_is_on_the_trail
from tests.unit.observability.conftest import captured

__all__ = ["captured", "every_refusal_is_on_the_trail", "world"]

pytestmark = pytest.mark.live


def log_in(browser: Browser) -> TestResponse:
    return browser.navigate(browser.walk_to_callback(), site="cross-site")


def calls_to(world: World, path: str) -> int:
    return len([event for event in world.op.events("request") if event["path"] == path])


ID_TOKEN_FAULTS: dict[str, dict[str, Any]] = {
    "iss-other": {"set": {"iss": "https://evil.example"}},
    "iss-missing": {"drop": ["iss"]},
    "aud-other": {"set": {"aud": "somebody-else"}},
    "aud-missing": {"drop": ["aud"]},
    "T7-aud-object": {"set": {"aud": {"bff-basic": True}}},
    "aud-several-without-azp": {"set": {"aud": ["bff-basic", "somebody-else"]}},
    "azp-other": {"set": {"azp": "somebody-else"}},
    "exp-past": {"set": {"exp": 1_500_000_000}},
    "exp-missing": {"drop": ["exp"]},
    "T7-exp-1e300": {"set": {"exp": 1e300}},
    "T7-exp-text": {"set": {"exp": "x"}},
    "T7-exp-bool": {"set": {"exp": True}},
    "T7-exp-null": {"set": {"exp": None}},
    "iat-future": {"set": {"iat": 4_000_000_000}},
    "iat-missing": {"drop": ["iat"]},
    "L7-nonce-other": {"set": {"nonce": "another-login"}},
    "L7-nonce-missing": {"drop": ["nonce"]},
    "sub-missing": {"drop": ["sub"]},
    "sub-empty": {"set": {"sub": ""}},
    "sub-number": {"set": {"sub": 7}},
    "sub-too-long": {"set": {"sub": "a" * 256}},
    "sub-line-break": {"set": {"sub": "alice\r\nX-User-ID: root"}},
    "at-hash-other": {"set": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}},
    "T1-alg-none": {"alg": "none"},
    "T1-hs256-with-public-key": {"key": "hs-public"},
    "foreign-key": {"key": "foreign"},
    "flipped-signature": {"flip": True},
    "kid-unknown": {"header": {"kid": "nobody"}, "key": "foreign"},
    "T6-too-large": {"set": {"padding": "x" * 70_000}},
}


@pytest.mark.parametrize("fault", ID_TOKEN_FAULTS)
def test_an_id_token_with_one_fault_makes_no_session(world: World, fault: str) -> None:
    browser = world.open_browser(oidc={"userinfo": True})
    world.op.mutate(id_token=ID_TOKEN_FAULTS[fault])
    assert_refused(browser, log_in(browser), "login_failed")
    assert (world.token_calls(), calls_to(world, "/me")) == (1, 0), "the access token was used"
    world.op.clear_faults()
    browser.log_in()
    assert browser.is_logged_in()


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_an_id_token_may_be_signed_with_any_allowed_algorithm(world: World, algorithm: str) -> None:
    browser = world.open_browser()
    # The hash of the access token is that of the algorithm the provider used before.
    world.op.mutate(id_token={"alg": algorithm, "drop": ["at_hash"]})
    browser.log_in()


def test_an_id_token_without_kid_is_good_while_one_key_fits(world: World) -> None:
    browser = world.open_browser()
    world.op.mutate(id_token={"alg": "ES256", "dropHeader": ["kid"], "drop": ["at_hash"]})
    browser.log_in()


def test_an_id_token_that_names_several_parties_and_us_as_authorized_is_good(world: World) -> None:
    browser = world.open_browser()
    world.op.mutate(id_token={"set": {"aud": ["bff-basic", "somebody-else"], "azp": "bff-basic"}})
    browser.log_in()


def test_keys_that_were_rotated_are_found_without_a_restart(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    world.op.mutate(jwks="rotate")
    browser.log_in()
    world.op.clear_faults()
    browser.log_in()
    assert browser.is_logged_in()


def test_without_keys_nothing_is_believed(world: World) -> None:
    browser = world.open_browser()
    world.op.mutate(jwks="empty")
    assert_refused(browser, log_in(browser), "login_failed")


@pytest.mark.parametrize("status", [500, 404])
def test_keys_that_cannot_be_had_are_the_providers_fault(world: World, status: int) -> None:
    browser = world.open_browser()
    world.op.fail("/jwks", status=status)
    assert_refused(browser, log_in(browser), "idp_unavailable", 503)


AUTHZ_FAULTS: dict[str, dict[str, Any]] = {
    "L6-iss-other": {"set": {"iss": "https://evil.example"}},
    "L6-iss-empty": {"set": {"iss": ""}},
    "L6-iss-missing": {"drop": ["iss"]},
    "L6-iss-slash": {"set": {"iss": "SLASH"}},
    "code-missing": {"drop": ["code"]},
    "code-empty": {"set": {"code": ""}},
    "error-beside-code": {"set": {"error": "access_denied"}},
    "error-unknown": {"set": {"error": "<script>"}},
}


@pytest.mark.parametrize("fault", AUTHZ_FAULTS)
def test_an_authorization_response_with_one_fault_never_reaches_the_token_endpoint(world: World, fault: str) -> None:
    browser = world.open_browser()
    change = json.loads(json.dumps(AUTHZ_FAULTS[fault]).replace("SLASH", world.op.issuer + "/"))
    world.op.mutate(authz=change)
    callback = browser.walk_to_callback()
    assert_refused(browser, browser.navigate(callback, site="cross-site"), "login_failed")
    assert world.token_calls() == 0
    again = browser.navigate(callback, site="cross-site")
    assert again.headers["X-BFF-Error"] == "login_state_invalid"


@pytest.mark.parametrize("change", [{"drop": ["state"]}, {"set": {"state": "x"}}], ids=["missing", "other"])
def test_an_authorization_response_without_our_state_is_refused(world: World, change: dict[str, Any]) -> None:
    browser = world.open_browser()
    world.op.mutate(authz=change)
    assert_refused(browser, log_in(browser), "login_state_invalid")
    assert world.token_calls() == 0


def test_l6_an_error_answer_from_another_issuer_is_no_answer(world: World) -> None:
    browser = world.open_browser()
    world.op.mutate(authz={"set": {"iss": "https://evil.example"}})
    callback = browser.walk_to_callback(abort_at="login")
    assert query_of(callback)["error"] == "access_denied"
    answer = browser.navigate(callback, site="cross-site")
    assert_refused(browser, answer, "login_failed")
    assert "cancelled" not in answer.text


def test_l6_an_issuer_may_be_absent_where_the_provider_never_promised_it(world: World) -> None:
    world.op.mutate(discovery={"drop": ["authorization_response_iss_parameter_supported"]}, authz={"drop": ["iss"]})
    browser = world.open_browser()
    browser.log_in()


TOKEN_FAULTS: dict[str, dict[str, Any]] = {
    "no-id-token": {"drop": ["id_token"]},
    "id-token-number": {"set": {"id_token": 7}},
    "id-token-not-a-jwt": {"set": {"id_token": "x"}},
    "T6-id-token-jwe": {"set": {"id_token": "a.b.c.d.e"}},
    "token-type-other": {"set": {"token_type": "DPoP"}},
    "token-type-missing": {"drop": ["token_type"]},
    "access-token-line-break": {"set": {"access_token": "a\r\nX-User-ID: root"}},
    "access-token-object": {"set": {"access_token": {}}},
    "expires-in-text": {"set": {"expires_in": "soon"}},
    "expires-in-negative": {"set": {"expires_in": -1}},
    "refresh-token-list": {"set": {"refresh_token": []}},
}


@pytest.mark.parametrize("fault", TOKEN_FAULTS)
def test_a_token_answer_with_one_fault_makes_no_session(world: World, fault: str) -> None:
    browser = world.open_browser(oidc={"userinfo": True})
    world.op.mutate(token=TOKEN_FAULTS[fault])
    assert_refused(browser, log_in(browser), "login_failed")
    assert (world.token_calls(), calls_to(world, "/me")) == (1, 0), "the access token was used"


@pytest.mark.parametrize(
    "change",
    [
        {"set": {"token_type": "bEARER"}},
        {"set": {"expires_in": "300"}},
        {"drop": ["expires_in"]},
        {"drop": ["refresh_token"]},
        {"drop": ["scope"]},
        {"set": {"unknown": {"a": [1]}}},
    ],
    ids=["type-case", "expires-text", "no-expires", "no-refresh", "no-scope", "unknown"],
)
def test_a_token_answer_that_is_only_unusual_makes_a_session(world: World, change: dict[str, Any]) -> None:
    browser = world.open_browser()
    world.op.mutate(token=change)
    browser.log_in()
    assert browser.is_logged_in()


@pytest.mark.parametrize(
    ("status", "body", "code", "answered"),
    [
        (400, {"error": "invalid_grant"}, "login_failed", 400),
        (401, {"error": "invalid_client"}, "login_failed", 400),
        (400, "", "login_failed", 400),
        (403, "<html>", "login_failed", 400),
        (302, "", "login_failed", 400),
        (500, {"error": "server_error"}, "idp_unavailable", 503),
        (503, "", "idp_unavailable", 503),
        (429, "", "idp_unavailable", 503),
        (200, "<html>", "login_failed", 400),
        (200, [], "login_failed", 400),
        (200, {}, "login_failed", 400),
    ],
)
def test_a_token_endpoint_that_fails_makes_no_session(
    world: World, status: int, body: object, code: str, answered: int
) -> None:
    browser = world.open_browser(oidc={"userinfo": True})
    callback = browser.walk_to_callback()
    world.op.fail("/token", status=status, body=body)
    assert_refused(browser, browser.navigate(callback, site="cross-site"), code, answered)
    assert (world.token_calls(), calls_to(world, "/me")) == (1, 0), "a code is sent once"


def test_a_wrong_client_secret_makes_no_session(world: World) -> None:
    browser = world.open_browser(oidc={"client_secret": "not-the-secret-that-the-provider-knows", "par": "off"})
    assert_refused(browser, log_in(browser), "login_failed")
    assert [event["error"] for event in world.op.events("grant.error")] == ["invalid_client"]


@pytest.mark.parametrize(
    "change",
    [{"set": {"sub": "bob"}}, {"drop": ["sub"]}, {"set": {"sub": ["alice"]}}, {"set": {"sub": "Alice"}}],
    ids=["other", "missing", "list", "case"],
)
def test_userinfo_about_somebody_else_makes_no_session(world: World, change: dict[str, Any]) -> None:
    browser = world.open_browser(oidc={"userinfo": True})
    world.op.mutate(userinfo=change)
    assert_refused(browser, log_in(browser), "login_failed")
    assert (world.token_calls(), calls_to(world, "/me")) == (1, 1), "nothing more is asked with its token"


@pytest.mark.parametrize(
    ("status", "body", "code", "answered"),
    [
        (500, "", "idp_unavailable", 503),
        (429, "", "idp_unavailable", 503),
        (401, "", "login_failed", 400),
        (403, {"error": "insufficient_scope"}, "login_failed", 400),
        (302, "", "login_failed", 400),
        (200, "<html>", "login_failed", 400),
        (200, "", "login_failed", 400),
        (200, [{"sub": "alice"}], "login_failed", 400),
        (200, {}, "login_failed", 400),
        (200, {"sub": "alice", "padding": "x" * 2_000_000}, "idp_unavailable", 503),
    ],
    ids=["500", "429", "401", "403", "302", "a-page", "nothing", "a-list", "empty", "two-megabytes"],
)
def test_userinfo_that_fails_makes_no_session(
    world: World, status: int, body: object, code: str, answered: int
) -> None:
    browser = world.open_browser(oidc={"userinfo": True})
    callback = browser.walk_to_callback()
    world.op.fail("/me", status=status, body=body)
    assert_refused(browser, browser.navigate(callback, site="cross-site"), code, answered)
    assert (world.token_calls(), calls_to(world, "/me")) == (1, 1), "nothing more is asked with its token"


def test_userinfo_cannot_say_who_authenticated_how(world: World) -> None:
    browser = world.open_browser(oidc={"userinfo": True}, session={"user_claims": ["acr", "iss", "name"]})
    world.op.mutate(userinfo={"set": {"acr": "gold", "iss": "https://evil.example", "name": "N"}})
    browser.log_in()
    told = browser.get_session().json
    assert told is not None
    assert told["user"]["name"] == "N"
    assert "gold" not in json.dumps(told)
    assert "evil" not in json.dumps(told)


def test_h12_claims_are_told_as_data_and_never_stand_in_for_the_id(world: World) -> None:
    browser = world.open_browser(oidc={"userinfo": True}, session={"user_claims": ["id", "name"]})
    world.op.mutate(userinfo={"set": {"id": "root", "name": "<script>alert(1)</script>"}})
    browser.log_in()
    answer = browser.get_session()
    assert answer.mimetype == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.json is not None
    assert answer.json["user"] == {"id": "alice", "name": "<script>alert(1)</script>"}


DISCOVERY_FAULTS: dict[str, dict[str, Any]] = {
    "issuer-other": {"set": {"issuer": "https://evil.example"}},
    "issuer-slash": {"set": {"issuer": "SLASH"}},
    "issuer-missing": {"drop": ["issuer"]},
    "token-endpoint-missing": {"drop": ["token_endpoint"]},
    "token-endpoint-odd": {"set": {"token_endpoint": "javascript:alert(1)"}},
    "authorization-endpoint-odd": {"set": {"authorization_endpoint": ["x"]}},
    "jwks-uri-file": {"set": {"jwks_uri": "file:///etc/passwd"}},
}


@pytest.mark.parametrize("fault", DISCOVERY_FAULTS)
def test_a_discovery_document_with_one_fault_starts_no_login(world: World, fault: str) -> None:
    change = json.loads(json.dumps(DISCOVERY_FAULTS[fault]).replace("SLASH", world.op.issuer + "/"))
    world.op.mutate(discovery=change)
    browser = world.open_browser()
    assert_refused(browser, browser.navigate("/auth/login"), "idp_unavailable", 503)
    assert browser.login_cookie_names() == set()
    assert {event["path"] for event in world.op.events("request")} == {"/.well-known/openid-configuration"}


PAR_FAULTS: dict[str, dict[str, Any]] = {
    "request-uri-missing": {"drop": ["request_uri"]},
    "request-uri-null": {"set": {"request_uri": None}},
    "request-uri-number": {"set": {"request_uri": 7}},
    "request-uri-list": {"set": {"request_uri": ["urn:x"]}},
    "request-uri-empty": {"set": {"request_uri": ""}},
    "request-uri-space": {"set": {"request_uri": "a b"}},
    "request-uri-line-break": {"set": {"request_uri": "urn:x\r\nSet-Cookie: a=b"}},
    "request-uri-not-ascii": {"set": {"request_uri": "urn:\u00e9"}},
    "request-uri-too-long": {"set": {"request_uri": "urn:" + "x" * 2048}},
}


@pytest.mark.parametrize("fault", PAR_FAULTS)
def test_a_pushed_request_that_is_answered_oddly_starts_no_login(world: World, fault: str) -> None:
    world.op.mutate(par=PAR_FAULTS[fault])
    browser = world.open_browser()
    answer = browser.navigate("/auth/login")
    assert_refused(browser, answer, "login_failed")
    assert "Location" not in answer.headers
    assert calls_to(world, "/request") == 1
    assert browser.login_cookie_names() == set()
    world.op.clear_faults()
    browser.log_in()


@pytest.mark.parametrize(
    ("status", "body", "code", "answered"),
    [
        (400, {"error": "invalid_request"}, "login_failed", 400),
        (400, "", "login_failed", 400),
        (401, {"error": "invalid_client"}, "login_failed", 400),
        (405, "<html>", "login_failed", 400),
        (413, "", "login_failed", 400),
        (302, "", "login_failed", 400),
        (200, "<html>", "login_failed", 400),
        (201, [], "login_failed", 400),
        (201, "", "login_failed", 400),
        (429, "", "idp_unavailable", 503),
        (500, {"error": "server_error"}, "idp_unavailable", 503),
        (503, "", "idp_unavailable", 503),
    ],
)
def test_a_pushed_request_that_fails_is_not_sent_another_way(
    world: World, status: int, body: object, code: str, answered: int
) -> None:
    browser = world.open_browser()
    world.op.fail("/request", status=status, body=body)
    answer = browser.navigate("/auth/login")
    assert_refused(browser, answer, code, answered)
    assert "Location" not in answer.headers
    assert browser.login_cookie_names() == set()


@pytest.mark.parametrize(
    "change",
    [{"set": {"expires_in": "60"}}, {"drop": ["expires_in"]}, {"set": {"unknown": {"a": 1}}}],
    ids=["expires-text", "no-expires", "unknown"],
)
def test_a_pushed_request_that_is_only_answered_unusually_starts_a_login(world: World, change: dict[str, Any]) -> None:
    world.op.mutate(par=change)
    world.open_browser().log_in()


def test_a_pushed_request_that_the_provider_insists_on_cannot_be_switched_off(world: World) -> None:
    world.op.mutate(discovery={"set": {"require_pushed_authorization_requests": True}})
    off = world.open_browser(oidc={"par": "off"})
    assert_refused(off, off.navigate("/auth/login"), "idp_unavailable", 503)
    assert world.op.events("pushed_authorization_request.success") == []
    world.open_browser(oidc={"par": "auto"}).log_in()
    assert len(world.op.events("pushed_authorization_request.success")) == 1


def test_a_pushed_request_that_is_required_and_not_offered_starts_no_login(world: World) -> None:
    world.op.mutate(discovery={"drop": ["pushed_authorization_request_endpoint"]})
    browser = world.open_browser(oidc={"par": "required"})
    assert_refused(browser, browser.navigate("/auth/login"), "idp_unavailable", 503)
    relaxed = world.open_browser(oidc={"par": "auto"})
    assert "state" in query_of(relaxed.start_login())
