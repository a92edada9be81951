"""The answer to a registration, a read and an update, with one thing wrong at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from app.core.errors import IdpUnavailableError
from app.services.client_registration.client_metadata import build_client_metadata
from app.services.client_registration.problems import ProblemCode
from app.services.client_registration.record import RegistrationRecord, RegistrationStore
from app.services.client_registration.registrar import Registrar
from app.services.client_registration.registration_client import RegistrationClient
from app.services.control_http import ControlHttp
from app.services.key_ring import KeyRing
from app.services.oidc_metadata import ProviderMetadata
from app.services.private_document import DocumentFile
from app.services.state_store.directory import DirectoryStateStore
from app.settings import Settings
from tests.unit.observability.captured_lines import CapturedLines
from tests.unit.observability.conftest import captured

__all__ = ["captured"]

ISSUER = "https://idp.example.com"
ENDPOINT = f"{ISSUER}/reg"
CLIENT_URI = f"{ISSUER}/reg/c-1"
TOKEN = "initial-access-token-of-a-test"
PROVIDER = ProviderMetadata(
    ISSUER, f"{ISSUER}/authorize", f"{ISSUER}/token", f"{ISSUER}/jwks", registration_endpoint=ENDPOINT
)
SETTINGS = Settings.model_validate(
    {
        "server": {"public_url": "https://app.example.com"},
        "oidc": {"issuer": ISSUER, "dcr": {"enabled": True, "initial_access_token": TOKEN}},
    }
)
KEY_RING = KeyRing([b"k" * 31 + b"y"])
REGISTRATION_TOKEN = "registration-access-token-1"


class World:
    """A registrar at a provider whose answers a test chooses."""

    def __init__(self, directory: Path) -> None:
        self.now = 1_700_000_000.0
        self.settings = SETTINGS
        self.provider: ProviderMetadata | None = PROVIDER
        self.path = directory / "keys" / "client-registration.json"
        self.store = RegistrationStore(DocumentFile(self.path, holds="the client registration"), KEY_RING)
        self.state = DirectoryStateStore(directory / "state", lambda: self.now)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def build(self, token: str = TOKEN) -> Registrar:
        return Registrar(
            self.store,
            RegistrationClient(ControlHttp(timeout_seconds=5)),
            state_store=self.state,
            issuer=ISSUER,
            initial_access_token=token,
            get_provider=self._get_provider,
            build_wanted=lambda _: self.wanted,
            timeout_seconds=5,
            clock=lambda: self.now,
        )

    def _get_provider(self) -> ProviderMetadata:
        if self.provider is None:
            raise IdpUnavailableError(internal_reason="down")
        return self.provider

    @property
    def wanted(self) -> dict[str, object]:
        return build_client_metadata(self.settings, (), PROVIDER, ["ES256"])

    def answer(self, **changes: Any) -> dict[str, Any]:
        """The answer of a provider that does as it is told; None takes a member out."""
        document = {
            **self.wanted,
            "client_id": "c-1",
            "client_id_issued_at": 1_700_000_000,
            "registration_client_uri": CLIENT_URI,
            "registration_access_token": REGISTRATION_TOKEN,
            **changes,
        }
        return {name: value for name, value in document.items() if value is not None}

    @contextmanager
    def answering(self, method: str, url: str, status: int, body: Any) -> Iterator[None]:
        payload = body if isinstance(body, bytes | str) else json.dumps(body)

        def tell(request: requests.PreparedRequest) -> tuple[int, dict[str, str], bytes | str]:
            sent = json.loads(request.body) if request.body else {}
            self.calls.append((f"{request.method} {request.url}", sent))
            return status, {}, payload

        with responses.RequestsMock(assert_all_requests_are_fired=False) as network:
            network.add_callback(method, url, callback=tell)
            yield

    def register(self, status: int = 201, body: Any = None, *, token: str = TOKEN) -> ProblemCode | None:
        with self.answering("POST", ENDPOINT, status, self.answer() if body is None else body):
            outcome = self.build(token).ensure()
        return outcome.problem.code if outcome.problem else None

    def record(self) -> RegistrationRecord:
        return self.store.load()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


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


def move(settings: Settings) -> Settings:
    server = settings.server.model_copy(update={"public_url": "https://new.example.com"})
    return settings.model_copy(update={"server": server})


def keep(world: World, body: Any, *, status: int = 200) -> ProblemCode | None:
    with world.answering("GET", CLIENT_URI, status, body):
        outcome = world.build().ensure()
    return outcome.problem.code if outcome.problem else None


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


@pytest.mark.parametrize("content", [b"{", b'{"version": 9}', b'{"client": {"client_id": 7}}', b"\xff"])
def test_a_damaged_record_is_left_alone(world: World, content: bytes) -> None:
    world.path.parent.mkdir(mode=0o700)
    world.path.touch(0o600)
    world.path.write_bytes(content)
    assert world.register() == ProblemCode.RECORD_UNUSABLE
    assert world.calls == []
    assert world.path.read_bytes() == content


def test_a_token_sealed_with_a_key_that_is_gone_leaves_the_client(world: World) -> None:
    world.register()
    world.store = RegistrationStore(
        DocumentFile(world.path, holds="the client registration"), KeyRing([b"o" * 31 + b"y"])
    )
    assert world.build().ensure().problem is None
    world.settings = move(SETTINGS)
    outcome = world.build().ensure()
    assert outcome.problem is not None
    assert outcome.problem.code == ProblemCode.UPDATE_REFUSED
    assert len(world.calls) == 1


def test_a_record_that_another_process_changed_meanwhile_is_not_overwritten(world: World) -> None:
    """As when the lease of the lock ran out: the attempt of the other one stands."""
    other = world.build(token="token-of-another-process")
    create = RegistrationClient.create

    def create_after_the_other(*arguments: Any) -> Any:
        registrar._client.create = create.__get__(registrar._client)  # type: ignore[method-assign]
        other._register(world.record(), world.wanted, PROVIDER)
        return registrar._client.create(*arguments)

    registrar = world.build()
    registrar._client.create = create_after_the_other  # type: ignore[assignment]
    with world.answering("POST", ENDPOINT, 201, world.answer()):
        outcome = registrar.ensure()
    assert outcome.is_busy
    assert len(world.calls) == 2
    client = world.record().client
    assert client is not None
