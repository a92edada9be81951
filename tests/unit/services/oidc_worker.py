"""How a worker of these tests speaks to the played provider."""

from __future__ import annotations

from collections.abc import Callable

from app.services.control_http import ControlHttp
from app.services.oidc_client import OidcClient
from app.settings.schema.settings_file import OidcSettings
from tests.support.fake_idp import ISSUER


def build_oidc_client(clock: Callable[[], float]) -> OidcClient:
    settings = OidcSettings.model_validate(
        {
            "issuer": ISSUER,
            "client_id": "bff",
            "client_auth": "client_secret_post",
            "client_secret": "a-secret-of-some-length",
        }
    )
    return OidcClient(settings, http=ControlHttp(timeout_seconds=10), clock=clock, allow_http=False)
