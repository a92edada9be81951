"""The real OpenID Provider that the other tests lean on does what they believe of it."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

import pytest
import requests

from tests.support.opwalk import walk
from tests.support.real_op import CRUD_AUDIENCE, CRUD_SCOPE, OpClient, RealOp

pytestmark = pytest.mark.live

CALLBACK = "https://app.example.com/auth/callback"
VERIFIER = "v" * 43


def start_login(op: RealOp, client: OpClient) -> str:
    challenge = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    query = {
        "client_id": client.client_id,
        "response_type": "code",
        "redirect_uri": CALLBACK,
        "scope": "openid profile email offline_access",
        "state": "some-state",
        "nonce": "some-nonce",
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    return f"{op.issuer}/auth?{urlencode(query)}"


def redeem(op: RealOp, client: OpClient, code: str) -> requests.Response:
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    if client.auth_method == "client_secret_post":
        form |= {"client_id": client.client_id, "client_secret": client.client_secret}
        return requests.post(f"{op.issuer}/token", data=form, timeout=10)
    basic = (quote_plus(client.client_id), quote_plus(client.client_secret))
    return requests.post(f"{op.issuer}/token", data=form, auth=basic, timeout=10)


@pytest.mark.parametrize("kind", ["basic_client", "post_client"])
def test_a_user_logs_in_and_the_code_works_once(op: RealOp, kind: str) -> None:
    client: OpClient = getattr(op, kind)
    with requests.Session() as browser:
        callback_url = walk(browser, start_login(op, client), stop_at=CALLBACK)
    answered = parse_qs(urlsplit(callback_url).query)
    assert answered["state"] == ["some-state"]
    assert answered["iss"] == [op.issuer]

    tokens = redeem(op, client, answered["code"][0]).json()
    assert {"access_token", "id_token", "expires_in"} <= tokens.keys()
    assert redeem(op, client, answered["code"][0]).json()["error"] == "invalid_grant"
    assert {tokens["access_token"], tokens["id_token"], answered["code"][0], VERIFIER} <= set(op.secrets())
    assert [event["grant_type"] for event in op.events("grant.success")] == ["authorization_code"]


def test_a_registered_client_gets_a_token_for_an_audience(op: RealOp) -> None:
    client = op.register_client("http://localhost:12345")
    form = {"grant_type": "client_credentials", "resource": CRUD_AUDIENCE, "scope": CRUD_SCOPE}
    answer = requests.post(
        f"{op.issuer}/token", data=form, auth=(client.client_id, quote_plus(client.client_secret)), timeout=10
    )
    assert answer.json()["scope"] == CRUD_SCOPE, answer.text


def test_a_cancelled_login_comes_back_as_access_denied(op: RealOp) -> None:
    with requests.Session() as browser:
        url = walk(browser, start_login(op, op.basic_client), stop_at=CALLBACK, abort_at="login")
    assert parse_qs(urlsplit(url).query)["error"] == ["access_denied"]


def test_a_fault_is_made_and_put_right(op: RealOp) -> None:
    op.fail("/jwks", status=503)
    assert requests.get(f"{op.issuer}/jwks", timeout=10).status_code == 503
    op.clear_faults()
    assert requests.get(f"{op.issuer}/jwks", timeout=10).status_code == 200
