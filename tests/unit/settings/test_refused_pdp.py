"""Each thing said of the decision point that must keep the BFF from starting does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.settings.config_folder import GOOD_SECRET, ConfigFolder

PDP_TABLE: list[Any] = [
    pytest.param({"connection": {"auth": "api_key"}}, "connection.api_key", "needs it", id="no-api-key"),
    pytest.param({"connection": {"auth": "api_key", "api_key": "k"}}, "connection.api_key", "16", id="weak-api-key"),
    pytest.param(
        {"connection": {"auth": "client_credentials", "client_id": "a", "client_secret": GOOD_SECRET}},
        "connection.token_url",
        "needs it",
        id="no-token-url",
    ),
    pytest.param({"connection": {"base_url": "pdp"}}, "connection.base_url", "a URL", id="broken-url"),
    pytest.param({"connection": {"ca_file": "/nowhere"}}, "connection.ca_file", "can be read", id="missing-ca-file"),
    pytest.param({"endpoints": {"batch": "x"}}, "endpoints.batch", "a path", id="broken-path"),
    pytest.param({"cache": {"ttl_alow": 5}}, "cache.ttl_alow", "did you mean ttl_allow", id="unknown-key"),
    pytest.param({"retry": {"retry_status_codes": [200]}}, "retry.retry_status_codes[0]", "400", id="retry-success"),
    pytest.param({"context": ["weather"]}, "context[0]", "'acr'", id="unknown-fact"),
    pytest.param({"endpoint_map": {"x": {}}}, "endpoint_map.x", "a path", id="broken-path-in-map"),
    pytest.param(
        {"endpoint_map": {"/x": {"GET": {"action": "a"}}}}, "endpoint_map./x.GET.resource", "req", id="no-resource"
    ),
]


@pytest.mark.parametrize(("pdp", "key", "wanted"), PDP_TABLE)
def test_pdp_yaml_is_refused(folder: ConfigFolder, pdp: dict[str, Any], key: str, wanted: str) -> None:
    folder.pdp = pdp
    fault = folder.find_fault()
    assert (fault.file, fault.key) == ("pdp.yaml", key)
    assert wanted in fault.wanted


def test_the_decision_point_cannot_be_asked_about_nobody(folder: ConfigFolder) -> None:
    folder.change_service("token", {"mode": "none"})
    folder.change_route(auth="none", authz="pdp")
    fault = folder.find_fault()
    assert fault.key == "routes[0].authz"
    assert "nobody" in fault.wanted
