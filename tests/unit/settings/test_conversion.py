from __future__ import annotations

import pytest

from app.core.routes import Service, ServiceToken
from tests.unit.settings.config_folder import ConfigFolder


def test_a_service_becomes_what_the_data_plane_works_with(folder: ConfigFolder) -> None:
    folder.routes["services"]["crud"] = {
        "base_url": "https://crud:8443/v1/",
        "token": {"mode": "client_credentials", "audience": "https://crud.example.com", "scope": "a b"},
        "connect_timeout_seconds": 1,
        "read_timeout_seconds": 0.5,
        "total_timeout_seconds": 60,
        "retry": 0,
        "max_connections": 8,
        "circuit_breaker": {"failures": 3},
        "tls": {"ca_file": "/dev/null"},
    }
    assert folder.load().services["crud"] == Service(
        name="crud",
        base_urls=("https://crud:8443/v1",),
        token=ServiceToken("client_credentials", "https://crud.example.com", "a b"),
        connect_timeout_seconds=1,
        read_timeout_seconds=0.5,
        total_timeout_seconds=60,
        retry=0,
        max_connections=8,
        breaker_failures=3,
        breaker_reset_seconds=30,
        ca_file="/dev/null",
    )


@pytest.mark.parametrize(
    ("for_all", "for_one", "is_bound"),
    [(False, None, False), (True, None, True), (False, True, True), (True, False, False), (True, True, True)],
)
def test_a_service_may_differ_in_whether_its_token_is_bound(
    folder: ConfigFolder, for_all: bool, for_one: bool | None, is_bound: bool
) -> None:
    folder.change("oidc.dpop", for_all)
    folder.change_service("token", {"mode": "client_credentials"} | ({} if for_one is None else {"dpop": for_one}))
    assert folder.load().services["crud"].token.is_bound is is_bound


def test_a_route_becomes_what_the_data_plane_works_with(folder: ConfigFolder) -> None:
    folder.change_route(
        id="forms", methods=["GET", "POST"], request_cookies=["lang"], allow_in_path=["encoded_slash"], streaming=True
    )
    configuration = folder.load()
    [route] = configuration.route_table.routes
    assert (route.id, route.path, route.upstream_path) == ("forms", "/api/forms/*", "/forms/{path}")
    assert route.service is configuration.services["crud"]
    assert route.methods == {"GET", "HEAD", "POST"}
    assert route.request_cookies == {"lang"}
    assert route.allow_in_path == {"encoded_slash"}
    assert route.streaming
    assert route.max_body_bytes == 10_485_760
    match = configuration.route_table.match("/api/forms/42")
    assert match is not None
    assert match.route is route


def test_head_follows_get_only(folder: ConfigFolder) -> None:
    folder.change_route(methods=["POST"])
    assert folder.load().route_table.routes[0].methods == {"POST"}


@pytest.mark.parametrize(
    ("path", "route_id"),
    [
        ("/api/crud/forms/*", "api-crud-forms"),
        ("/api/users/{user_id}/photo", "api-users-user_id-photo"),
        ("/*", "root"),
        ("/", "root"),
        ("/a.b/c~d", "a.b-c-d"),
    ],
)
def test_an_id_is_made_from_the_path(folder: ConfigFolder, path: str, route_id: str) -> None:
    folder.change_route(path=path, upstream_path="/x")
    assert folder.load().route_table.routes[0].id == route_id


def test_authz_comes_from_the_default_where_a_route_says_nothing(folder: ConfigFolder) -> None:
    folder.change_route(authz=None)
    assert folder.load().route_table.routes[0].authz == "none"


def test_preserve_path_needs_no_upstream_path(folder: ConfigFolder) -> None:
    folder.change_route(upstream_path=None, preserve_path=True)
    [route] = folder.load().route_table.routes
    assert (route.preserve_path, route.upstream_path) == (True, "")


def test_a_decision_point_that_nothing_asks_may_be_described(folder: ConfigFolder) -> None:
    mapping = {"GET": {"resource": "form", "action": "read"}}
    folder.pdp = {"connection": {"base_url": "http://pdp:8001"}, "endpoint_map": {"/api/forms/{id}": mapping}}
    assert folder.load().pdp.endpoint_map["/api/forms/{id}"]["GET"].action == "read"
