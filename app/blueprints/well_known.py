"""`/.well-known/jwks.json`: our public keys, for the identity provider to check our client assertions with."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from flask import Blueprint, Response, current_app, request

if TYPE_CHECKING:
    from app.wiring import Services

blueprint = Blueprint("well_known", __name__)

MAX_AGE_SECONDS = 300
"""How long after a rotation an identity provider may still see only the old keys; they stay valid for much longer."""


@blueprint.get("/.well-known/jwks.json")
def jwks() -> Response:
    """The JWK Set (RFC 7517 §5), cacheable by anybody; 304 for who has it already (RFC 9110 §13.1.2)."""
    services: Services = current_app.extensions["bff"]
    body = json.dumps(services.key_store.public_jwks(), separators=(",", ":")).encode("ascii")
    response = Response(body, mimetype="application/jwk-set+json")
    response.set_etag(hashlib.sha256(body).hexdigest()[:32])
    response.headers["Cache-Control"] = f"public, max-age={MAX_AGE_SECONDS}"
    return response.make_conditional(request)  # type: ignore[return-value]  # the same object, says the base class
