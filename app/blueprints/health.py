"""For probes: does the process serve, and can it serve well. Says no more than that to anybody who asks.

Live: the process answers. Ready: the session store takes a record and there are keys to sign with (`held`: those that
the worker has, for it could not read them again). The identity provider is
reported, from what the last use of it showed, and not required: sessions go on while it is away, and taking every
instance out of service would help nobody. The same holds for a client that is not registered yet; besides, the provider
may want to read our keys, through the very balancer that asks here, before it registers anybody. The decision point is
reported likewise, and `off` says that no call is decided (`pdp.enabled: false`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app, jsonify

from app.core.errors import StoreUnavailableError
from app.gateway.enforcement import OFF
from app.observability import logs

if TYPE_CHECKING:
    from app.wiring import Services

log = logs.get_logger(__name__)

blueprint = Blueprint("health", __name__)

_TRUST_SECONDS = 1.0
"""However often probes (or anybody else) ask, the store is tried about once a second."""


class StoreProbe:
    """What the last try of the store showed, while that is fresh."""

    def __init__(self) -> None:
        self._tried_at = float("-inf")
        self._works = False

    def works(self, services: Services) -> bool:
        now = time.monotonic()
        if now - self._tried_at >= _TRUST_SECONDS:
            self._works = _try_store(services)
            self._tried_at = now
        return self._works


@blueprint.get("/health/live")
def live() -> Response:
    """200 for as long as the process can answer at all."""
    return jsonify(status="ok")


@blueprint.get("/health/ready")
def ready() -> Response:
    """200 or 503: whether calls should be sent here."""
    return _answer(_check_parts())


@blueprint.get("/health")
def both() -> Response:
    """The same, for people."""
    return _answer(_check_parts())


def _check_parts() -> dict[str, str]:
    services: Services = current_app.extensions["bff"]
    probe: StoreProbe = current_app.extensions.setdefault("bff_store_probe", StoreProbe())
    parts: dict[str, str] = {
        "store": "ok" if probe.works(services) else "unavailable",
        "keys": services.key_store.check(),
        "idp": "ok" if services.oidc_client.find_metadata() is not None else "unknown",
    }
    if services.client_registration is not None:
        parts["client"] = services.client_registration.check()
    if (pdp := _check_pdp(services)) is not None:
        parts["pdp"] = pdp
    return parts


def _check_pdp(services: Services) -> str | None:
    """From what this worker's last question showed; None where there is no decision point to be asked."""
    if not services.authorization.switch.is_on:
        return OFF
    if not services.configuration.pdp.connection.base_url:
        return None
    return services.authorization.client.last_outcome


def _answer(parts: dict[str, str]) -> Response:
    is_ready = parts["store"] == "ok" and parts["keys"] in ("ok", "held")
    response = jsonify(status="ok" if is_ready else "unavailable", live="ok", parts=parts)
    response.status_code = 200 if is_ready else 503
    return response


def _try_store(services: Services) -> bool:
    try:
        services.state_store.check()
    except StoreUnavailableError as error:
        services.metrics.count_store_error()
        log.warning("the session store does not answer", reason=error.internal_reason)
        return False
    return True
