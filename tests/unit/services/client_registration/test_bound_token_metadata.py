"""`dpop_bound_access_tokens` (RFC 9449 §5.2): with it the provider refuses every token request without a proof."""

from __future__ import annotations

import pytest

from app.core.routes import ServiceToken
from app.services.client_registration.client_metadata import build_client_metadata
from app.services.oidc_metadata import parse_provider_metadata
from tests.support.fake_idp import ISSUER, FakeIdp
from tests.unit.services.flow_world import build_settings
from tests.unit.services.upstream.calls import build_service

BOUND, PLAIN, NONE = ServiceToken("resource", is_bound=True), ServiceToken("resource"), ServiceToken("none")


@pytest.mark.parametrize(
    ("dpop", "tokens", "is_wanted"),
    [
        pytest.param(True, [], True, id="no-services"),
        pytest.param(True, [BOUND, NONE], True, id="all-that-have-a-token"),
        pytest.param(True, [BOUND, PLAIN], False, id="all-but-one"),
        pytest.param(False, [BOUND], False, id="not-the-users"),
    ],
)
def test_it_is_wanted_only_where_every_token_is_bound(dpop: bool, tokens: list[ServiceToken], is_wanted: bool) -> None:
    provider = parse_provider_metadata(FakeIdp().metadata, issuer=ISSUER, allow_http=False)
    services = [build_service("http://crud", token=token) for token in tokens]
    metadata = build_client_metadata(build_settings(oidc={"dpop": dpop}), services, provider, ["ES256"])
    assert ("dpop_bound_access_tokens" in metadata) is is_wanted
