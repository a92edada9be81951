"""The demo's OpenID Provider as a test's far side: a real one, with a side door for faults and for what it saw.

Fixture `op` is one provider for the whole run, put right again before each test. Its two standing clients take the
callback of every origin in `STANDING_ORIGINS`; a BFF on a free port gets a client of its own with `register_client`.
A test that stops the provider starts one of its own with `start_op`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.processes import Child, free_port, is_answering, minimal_environment, start_server

IDP_DIRECTORY = Path(__file__).parents[2] / "demo" / "idp"
STANDING_ORIGINS = ("https://app.example.com", "http://localhost:8000", "http://localhost", "http://127.0.0.1:8000")
CRUD_AUDIENCE = "urn:test:api:crud"
CRUD_SCOPE = "crud:read crud:write"
GRANT_TYPES = [
    "authorization_code",
    "refresh_token",
    "client_credentials",
    "urn:ietf:params:oauth:grant-type:token-exchange",
]


@dataclass(frozen=True, slots=True)
class OpClient:
    """A client that the provider knows."""

    client_id: str
    auth_method: str
    client_secret: str = field(repr=False)


# Characters that only come through HTTP Basic when each half is form-urlencoded first (RFC 6749 section 2.3.1).
BASIC_CLIENT = OpClient("bff-basic", "client_secret_basic", "basic-secret+with/odd:chars%and=more-than-32")
POST_CLIENT = OpClient("bff-post", "client_secret_post", "post-secret+with/odd&chars%and=more-than-32-")


def build_client_metadata(client: OpClient, origins: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """Client metadata (RFC 7591) for a BFF that is reached at `origins`."""
    return {
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "token_endpoint_auth_method": client.auth_method,
        "grant_types": GRANT_TYPES,
        "response_types": ["code"],
        "redirect_uris": [f"{origin}/auth/callback" for origin in origins],
        "post_logout_redirect_uris": [f"{origin}/auth/logged-out" for origin in origins],
        **more,
    }


class RealOp:
    """One running provider."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.port = port
        self.issuer = f"http://127.0.0.1:{port}"
        self.basic_client = BASIC_CLIENT
        self.post_client = POST_CLIENT
        self._http = requests.Session()
        self._http.trust_env = False

    def mutate(self, **faults: Any) -> None:
        """Make things wrong on the wire, in place of whatever was wrong before; demo/idp/wire-faults.mjs lists them."""
        self._call("POST", "/_test/mutate", faults)

    def fail(self, path: str, *, status: int = 0, times: int = -1, delay_ms: int = 0, body: Any = "") -> None:
        """Delay or fail one endpoint, such as '/token'; `times` -1 is until it is put right."""
        self.mutate(fail={path: {"status": status, "times": times, "delay_ms": delay_ms, "body": body}})

    def clear_faults(self) -> None:
        self._call("DELETE", "/_test/mutate")

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What happened, oldest first: 'grant.success', 'grant.error', 'end_session.success', 'grant.revoked', …"""
        events: list[dict[str, Any]] = self._call("GET", "/_test/events")
        return [event for event in events if kind is None or event["type"] == kind]

    def secrets(self, *kinds: str) -> list[str]:
        """Every value of these kinds (all without any) that passed here; none of them may be in a log."""
        entries: list[dict[str, str]] = self._call("GET", "/_test/secrets")
        return sorted({entry["value"] for entry in entries if not kinds or entry["kind"] in kinds})

    def reset(self) -> None:
        """Put all faults right and forget events and secrets."""
        self._call("POST", "/_test/reset")

    def initial_access_token(self) -> str:
        token: str = self._call("POST", "/_test/iat")["initial_access_token"]
        return token

    def mint_logout_token(
        self, client: OpClient, *, sub: str, sid: str = "", fault: dict[str, Any] | None = None
    ) -> str:
        """A logout token as the provider would send it, with one thing made wrong in it."""
        body = {"client_id": client.client_id, "sub": sub, "sid": sid, "fault": fault}
        token: str = self._call("POST", "/_test/logout-token", body)["logout_token"]
        return token

    def register_client(self, origin: str, *, auth_method: str = "client_secret_basic", **more: Any) -> OpClient:
        """Register (RFC 7591) a client for a BFF at `origin`; with private_key_jwt its keys are read there."""
        if auth_method == "private_key_jwt" and "jwks" not in more:
            more["jwks_uri"] = f"{origin}/.well-known/jwks.json"
        metadata = build_client_metadata(OpClient("", auth_method, ""), (origin,), **more)
        del metadata["client_id"], metadata["client_secret"]
        answer = self._http.post(
            f"{self.issuer}/reg",
            json=metadata,
            headers={"Authorization": f"Bearer {self.initial_access_token()}"},
            timeout=10,
        )
        assert answer.status_code == 201, answer.text
        registered = answer.json()
        return OpClient(registered["client_id"], auth_method, registered.get("client_secret", ""))

    def stop(self) -> None:
        self._http.close()
        self.child.stop()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._http.request(method, f"{self.issuer}{path}", json=body, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()


def start_op(
    log_directory: Path, *, port: int | None = None, origins: tuple[str, ...] = (), **variables: str
) -> RealOp:
    """Start a provider; `variables` are those at the top of demo/idp/op.mjs. The caller stops it."""
    node = shutil.which("node")
    if node is None or not (IDP_DIRECTORY / "node_modules").is_dir():
        pytest.fail("The real OpenID Provider needs Node and its packages: run `make setup`.", pytrace=False)
    port = port or free_port()
    every_origin = (*STANDING_ORIGINS, *origins)
    clients = [build_client_metadata(client, every_origin) for client in (BASIC_CLIENT, POST_CLIENT)]
    environment = minimal_environment(
        OP_PORT=str(port), OP_TEST_HOOKS="1", OP_CLIENTS=json.dumps(clients), NODE_NO_WARNINGS="1", **variables
    )
    child = start_server(
        "op",
        [node, "op.mjs"],
        log_path=log_directory / f"op-{port}.log",
        ready=lambda _: is_answering(f"http://127.0.0.1:{port}/_test/health", status=200),
        environment=environment,
        directory=IDP_DIRECTORY,
    )
    return RealOp(child, port)


@pytest.fixture(scope="session")
def op_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealOp]:
    """One provider for the run; tests take `op`."""
    started = start_op(tmp_path_factory.mktemp("op"))
    yield started
    started.stop()


@pytest.fixture
def op(op_process: RealOp) -> RealOp:
    """The run's provider with nothing wrong and nothing remembered."""
    op_process.reset()
    return op_process
