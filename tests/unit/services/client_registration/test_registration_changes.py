"""The answer to a read and to an update of a client, with one thing wrong at a time."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
import responses

from app.services.client_registration.problems import ProblemCode
from tests.unit.observability.captured_lines import CapturedLines
from tests.unit.observability.conftest import captured
from tests.unit.services.client_registration.registration_world import (
    CLIENT_URI,
    ENDPOINT,
    REGISTRATION_TOKEN,
    SETTINGS,
    World,
    keep,
    move,
    world,
)

__all__ = ["captured", "world"]


# Reads


@pytest.mark.parametrize("status", [401, 403, 404, 410])
@pytest.mark.parametrize("body", ["", {"error": "invalid_token"}])
def test_a_client_that_is_gone_is_reported_and_stays(
    world: World, captured: CapturedLines, status: int, body: Any
) -> None:
    world.register()
    assert keep(world, body, status=status) == ProblemCode.CLIENT_LOST
    assert [call for call, _ in world.calls] == [f"POST {ENDPOINT}", f"GET {CLIENT_URI}"]
    client = world.record().client
    assert client is not None
    assert client.client_id == "c-1"
    assert [line["event"] for line in captured.of("audit")] == ["client.registered", "registration.failed"]


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        pytest.param(200, {"client_id": "c-2"}, ProblemCode.NOT_AS_ASKED, id="another-client"),
        pytest.param(
            200, {"registration_client_uri": "https://evil.example/"}, ProblemCode.NOT_AS_ASKED, id="uri-elsewhere"
        ),
        pytest.param(200, "<html>", ProblemCode.PROVIDER_UNAVAILABLE, id="a-page"),
        pytest.param(500, "", ProblemCode.PROVIDER_UNAVAILABLE, id="500"),
        pytest.param(503, "", ProblemCode.PROVIDER_UNAVAILABLE, id="503"),
        pytest.param(405, "", ProblemCode.UPDATE_REFUSED, id="405"),
    ],
)
def test_a_read_that_cannot_be_used_changes_nothing(world: World, status: int, body: Any, code: ProblemCode) -> None:
    world.register()
    before = world.record().client
    assert keep(world, world.answer(**body) if isinstance(body, dict) else body, status=status) == code
    assert len(world.calls) == 2
    assert world.record().client == before


# Updates


def update(world: World, answer: Any, *, status: int = 200, read: Any = None) -> ProblemCode | None:
    """A start with another address; the provider answers the update with `answer`."""
    had = world.answer() if read is None else read
    world.settings = move(world.settings)
    with responses.RequestsMock() as network:

        def tell(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
            assert isinstance(request.body, bytes)
            self_calls = (f"PUT {request.headers['Authorization']}", json.loads(request.body))
            world.calls.append(self_calls)
            return status, {}, answer if isinstance(answer, str) else json.dumps(answer)

        network.get(CLIENT_URI, json=had)
        network.add_callback("PUT", CLIENT_URI, callback=tell)
        outcome = world.build().ensure()
    return outcome.problem.code if outcome.problem else None


def test_an_update_sends_everything_the_provider_has_and_none_of_what_it_must_not(world: World) -> None:
    """RFC 7592 §2.2."""
    world.register()
    moved = {"redirect_uris": ["https://new.example.com/auth/callback"], "jwks_uri": None}
    had = world.answer(client_secret="s", client_secret_expires_at=0, jwks={"keys": []}, x_provider=1, contacts=None)
    assert update(world, world.answer(**moved), read=had) is None
    _, sent = world.calls[-1]

    assert sent["client_id"] == "c-1"
    assert sent["x_provider"] == 1
    assert sent["redirect_uris"] == ["https://new.example.com/auth/callback"]
    assert {*sent} == {*world.wanted, "client_id", "x_provider"}


def test_a_new_registration_token_is_used_from_then_on(world: World) -> None:
    world.register()
    world.settings = move(world.settings)
    after = world.answer(registration_access_token="registration-access-token-2")
    world.settings = SETTINGS
    assert update(world, after) is None
    client = world.record().client
    assert client is not None
    assert world.store.open_token(client) == "registration-access-token-2"
    assert world.calls[-1][0] == f"PUT Bearer {REGISTRATION_TOKEN}"


@pytest.mark.parametrize(
    ("status", "changes", "code"),
    [
        pytest.param(400, {"error": "invalid_redirect_uri"}, ProblemCode.UPDATE_REFUSED, id="refused"),
        pytest.param(403, {}, ProblemCode.UPDATE_REFUSED, id="403"),
        pytest.param(200, {"redirect_uris": ["https://old.example"]}, ProblemCode.NOT_AS_ASKED, id="not-followed"),
        pytest.param(200, {"token_endpoint_auth_method": "none"}, ProblemCode.NOT_AS_ASKED, id="other-method"),
        pytest.param(503, {}, ProblemCode.PROVIDER_UNAVAILABLE, id="503"),
        pytest.param(500, {}, ProblemCode.PROVIDER_UNAVAILABLE, id="500"),
    ],
)
def test_an_update_that_fails_leaves_the_client(
    world: World, status: int, changes: dict[str, Any], code: ProblemCode
) -> None:
    world.register()
    world.settings = move(SETTINGS)
    answer = world.answer(**changes) if status == 200 else changes
    world.settings = SETTINGS
    assert update(world, answer, status=status) == code
    client = world.record().client
    assert client is not None
    assert client.client_id == "c-1"


def test_what_somebody_changed_at_the_provider_is_put_right(world: World) -> None:
    world.register()
    drifted = world.answer(redirect_uris=["https://app.example.com/auth/callback", "https://other.example/cb"])
    with responses.RequestsMock() as network:
        network.get(CLIENT_URI, json=drifted)
        network.put(CLIENT_URI, json=world.answer())
        assert world.build().ensure().change == "updated"


def test_a_wish_that_is_dropped_is_taken_back_at_the_provider(world: World) -> None:
    oidc = SETTINGS.oidc.model_copy(update={"par": "required"})
    world.settings = SETTINGS.model_copy(update={"oidc": oidc})
    world.register()
    had = world.answer()
    assert had["require_pushed_authorization_requests"] is True
    world.settings = SETTINGS
    with responses.RequestsMock() as network:
        network.get(CLIENT_URI, json=had)
        put = network.put(CLIENT_URI, json=world.answer())
        assert world.build().ensure().change == "updated"
    assert "require_pushed_authorization_requests" not in json.loads(put.calls[0].request.body)
