"""Which token goes where (T15, T22): two users, every token mode, two instances, and tokens that fall due all the time.

Each request that reaches a backend has to carry a token of the very user its headers name, made for that service.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.support.bff import build_route
from tests.support.farm import Farm, running_farm
from tests.support.processes import wait_until
from tests.support.raw_backend import OK_ANSWER, RawBackend, RecordedRequest, answering_always
from tests.support.real_op import CRUD_AUDIENCE

pytestmark = pytest.mark.live

LLM_AUDIENCE = "urn:test:api:llm"
TOKENS: dict[str, dict[str, str]] = {
    "user": {"mode": "user"},
    "crud": {"mode": "resource", "audience": CRUD_AUDIENCE},
    "llm": {"mode": "resource", "audience": LLM_AUDIENCE},
    "exchange": {"mode": "exchange", "audience": CRUD_AUDIENCE},
    "own": {"mode": "client_credentials", "audience": CRUD_AUDIENCE, "scope": "crud:read"},
}
USERS = ("alice", "bob")
REFRESHES = 3


@pytest.fixture(scope="module")
def backend() -> Iterator[RawBackend]:
    with RawBackend(answering_always(OK_ANSWER)) as backend:
        yield backend


@pytest.fixture(scope="module")
def farm(backend: RawBackend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    scopes = ["openid", "profile", "offline_access", "crud:read", "llm:chat"]
    routes = {
        "services": {name: {"base_url": backend.url, "token": token} for name, token in TOKENS.items()},
        "routes": [build_route(f"/api/{name}/*", name, f"/{name}/{{path}}") for name in TOKENS],
    }
    with running_farm(
        tmp_path_factory.mktemp("farm"),
        settings={"oidc": {"resources": [CRUD_AUDIENCE, LLM_AUDIENCE], "scopes": scopes}},
        routes=routes,
        access_token_seconds=8,
    ) as farm:
        yield farm


def read_claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def ask_whose(farm: Farm, token: str) -> str:
    answer = requests.get(f"{farm.op.issuer}/me", headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["sub"])


def check_token(farm: Farm, request: RecordedRequest) -> tuple[str, str, str]:
    """Returns the service, the user and the token of a request, once they are seen to belong together."""
    service = request.request_line.split(b"/")[1].decode()
    [user] = [value.decode() for value in request.get_all("X-User-ID")]
    [authorization] = request.get_all("Authorization")
    token = authorization.decode().removeprefix("Bearer ")
    if service == "user":
        return service, user, token  # opaque: the provider is asked about the newest of them
    claims = read_claims(token)
    assert claims["aud"] == TOKENS[service]["audience"]
    assert claims["sub"] == (farm.client.client_id if service == "own" else user)
    return service, user, token


def test_t22_each_backend_gets_tokens_of_the_calling_user_that_were_made_for_it(
    farm: Farm, backend: RawBackend
) -> None:
    browsers = {user: farm.log_in(user) for user in USERS}
    seen: dict[tuple[str, str], set[str]] = {(service, user): set() for service in TOKENS for user in USERS}

    def call(user: str, service: str, turn: int) -> int:
        return farm.call(farm.instances[turn], browsers[user], f"/api/{service}/{user}").status_code

    def call_all() -> bool:
        backend.requests.clear()
        plan = [(user, service, turn) for service in TOKENS for user in USERS for turn in range(2)]
        with ThreadPoolExecutor(len(plan)) as pool:
            assert set(pool.map(lambda planned: call(*planned), plan)) == {200}
        newest = {}
        for request in backend.requests:
            service, user, token = check_token(farm, request)
            assert request.request_line.split(b" ")[1] == f"/{service}/{user}".encode()
            seen[service, user].add(token)
            if service == "user":
                newest[user] = token
        assert {user: ask_whose(farm, token) for user, token in newest.items()} == {user: user for user in USERS}
        return min(len(tokens) for tokens in seen.values()) >= REFRESHES

    wait_until(call_all, timeout_seconds=60, what="every token to have been renewed")
    users_own = {token for (service, _), tokens in seen.items() if service != "own" for token in tokens}
    assert len(users_own) == sum(len(tokens) for (service, _), tokens in seen.items() if service != "own")
    assert seen["own", "alice"] & seen["own", "bob"], "the BFF's own token is the same for all sessions"
    assert all(browser.is_logged_in() for browser in browsers.values())
