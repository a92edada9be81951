"""Several instances of the product behind one public address, with a real provider and the demo's backend.

with running_farm(tmp_path, settings=build_redis_settings(redis.url)) as farm:
    browser = farm.log_in("alice")
    farm.call(farm.instances[1], browser, "/api/profile/whoami")

They share a key file and whatever store the settings name. When the farm ends, the logs of its instances are searched
for every secret that passed.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import requests

from tests.support.bff import Bff, build_routes, merge, start_bff, start_crud_service
from tests.support.browser_client import CALL_HEADERS, BrowserClient
from tests.support.log_scan import find_leaks
from tests.support.opwalk import walk
from tests.support.processes import free_port
from tests.support.real_op import OpClient, RealOp, start_op

COOKIE_NAME = "bff_session"


@dataclass
class Farm:
    """The first instance listens on the public address; a call to another one says that it came for that address."""

    op: RealOp
    client: OpClient
    backend_url: str
    directory: Path
    instances: Sequence[Bff]
    _browsers: list[BrowserClient] = field(default_factory=list)

    @property
    def first(self) -> Bff:
        return self.instances[0]

    @property
    def state_directory(self) -> Path:
        """Where the instances keep everything, unless the settings name another place."""
        return self.directory / "state"

    @property
    def second(self) -> Bff:
        return self.instances[1]

    def open_browser(self) -> BrowserClient:
        """Closed when the farm ends; its cookies count among the secrets."""
        browser = BrowserClient(self.first.origin)
        self._browsers.append(browser)
        return browser

    def log_in(self, user: str = "alice") -> BrowserClient:
        browser = self.open_browser()
        browser.log_in(user)
        return browser

    def build_headers(self, browser: BrowserClient) -> dict[str, str]:
        """What a call of this browser brings to any of the instances."""
        cookie = f"{COOKIE_NAME}={browser.session_cookie(COOKIE_NAME)}"
        return {**CALL_HEADERS, "Host": f"localhost:{self.first.port}", "Cookie": cookie}

    def call(self, instance: Bff, browser: BrowserClient, path: str = "/api/crud/forms") -> requests.Response:
        """One call of the page that lands on `instance`."""
        with requests.Session() as http:
            http.trust_env = False
            url = f"http://127.0.0.1:{instance.port}{path}"
            return http.get(url, headers=self.build_headers(browser), timeout=60)

    def log_out_at_the_provider(self, browser: BrowserClient) -> None:
        """The way a user logs out from another application: the farm hears of it from the provider, if at all."""
        query = {
            "client_id": self.client.client_id,
            "post_logout_redirect_uri": f"{self.first.origin}/auth/logged-out",
        }
        walk(browser.http, f"{self.op.issuer}/session/end?{urlencode(query)}", stop_at=self.first.origin)

    def has_sent_logout(self, outcome: str, user: str) -> bool:
        """Whether the provider has told the farm of the end of this user's session, and the `outcome` of that was
        `success` or `error`."""
        return any(event["sub"] == user for event in self.op.events(f"backchannel.{outcome}"))

    @property
    def logs(self) -> list[Path]:
        return [instance.child.log_path for instance in self.instances]

    def read_logs(self) -> str:
        """Of all instances, one after the other."""
        return "".join(instance.child.read_log() for instance in self.instances)

    def find_leaks(self) -> list[str]:
        """Every secret that stands in a log of an instance, as sentences that do not repeat it."""
        of_browsers = {secret for browser in self._browsers for secret in browser.secrets}
        return find_leaks(self.logs, {*self.op.secrets(), *of_browsers, self.client.client_secret})

    def close(self) -> None:
        for browser in self._browsers:
            browser.http.close()


def build_redis_settings(url: str, **redis: float) -> dict[str, Any]:
    """Settings for sessions in Redis, with waits that are short enough for a test."""
    return {"session": {"store": "redis", "redis_url": url, "redis": {"timeout_seconds": 0.5, "retries": 1, **redis}}}


@contextmanager
def running_farm(
    directory: Path,
    *,
    settings: Mapping[str, Any],
    instances: int = 2,
    workers: int = 2,
    routes: Mapping[str, Any] | None = None,
    more_routes: Mapping[str, Any] | None = None,
    access_token_seconds: int = 300,
) -> Iterator[Farm]:
    """`settings` are laid over those of `start_bff`; `access_token_seconds` is how long the provider's tokens last.

    `more_routes` come beside the demo's, `routes` in their place.
    Without a `session` in the settings the instances share a directory.
    """
    with ExitStack() as parts:
        op = start_op(directory, OP_TTL_AT=str(access_token_seconds))
        parts.callback(op.stop)
        crud, backend_url = start_crud_service(directory)
        parts.callback(crud.stop)
        ports = [free_port() for _ in range(instances)]
        port = ports[0]
        shared = {
            "server": {"public_url": f"http://localhost:{port}"},
            "session": {"directory": str(directory / "state")},
            "tokens": {"data_key_file": str(write_key_file(directory))},
            "keys": {"directory": str(directory / "keys")},
        }
        client = op.register_client(
            f"http://localhost:{port}",
            # To the last instance, so that the others have to hear of it from that one.
            backchannel_logout_uri=f"http://127.0.0.1:{ports[-1]}/auth/backchannel-logout",
            backchannel_logout_session_required=True,
        )
        farm = Farm(op, client, backend_url, directory, [])
        parts.callback(farm.close)
        started = list[Bff]()
        farm.instances = started
        for number, own_port in enumerate(ports):
            bff = start_bff(
                directory / f"bff-{number}",
                issuer=op.issuer,
                client=farm.client,
                backend_url=backend_url,
                port=own_port,
                workers=workers,
                settings=merge(shared, settings),
                routes=routes or _add_routes(build_routes(backend_url), more_routes or {}),
            )
            parts.callback(bff.stop)
            started.append(bff)
        yield farm
        leaks = farm.find_leaks()
        assert not leaks, f"secrets in the logs: {leaks}"


def _add_routes(routes: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "services": {**routes["services"], **more.get("services", {})},
        "routes": [*routes["routes"], *more.get("routes", [])],
    }


def write_key_file(directory: Path) -> Path:
    key_file = directory / "data.keys"
    key_file.write_bytes(base64.b64encode(secrets.token_bytes(32)) + b"\n")
    key_file.chmod(0o600)
    return key_file
