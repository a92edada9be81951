"""A registrar at a provider whose answers a test chooses."""

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


def move(settings: Settings) -> Settings:
    server = settings.server.model_copy(update={"public_url": "https://new.example.com"})
    return settings.model_copy(update={"server": server})


def keep(world: World, body: Any, *, status: int = 200) -> ProblemCode | None:
    with world.answering("GET", CLIENT_URI, status, body):
        outcome = world.build().ensure()
    return outcome.problem.code if outcome.problem else None
