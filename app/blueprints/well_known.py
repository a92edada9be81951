"""`/.well-known/jwks.json`: our public keys, for the identity provider to check our client assertions with."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app, request

if TYPE_CHECKING:
    from app.wiring import Services

blueprint = Blueprint("well_known", __name__)


@blueprint.get("/.well-known/jwks.json")
def jwks() -> Response:
    """The JWK Set (RFC 7517 §5); 304 for who has it already (RFC 9110 §13.1.2). Anybody may keep it for a time in which
    no key can begin to sign that is not in there."""
    services: Services = current_app.extensions["bff"]
    body = json.dumps(services.key_store.public_jwks(), separators=(",", ":")).encode("ascii")
    response = Response(body, mimetype="application/jwk-set+json")
    response.set_etag(hashlib.sha256(body).hexdigest()[:32])
    response.headers["Cache-Control"] = f"public, max-age={services.key_store.policy.jwks_max_age_seconds}"
    return response.make_conditional(request)  # type: ignore[return-value]  # the same object, says the base class
