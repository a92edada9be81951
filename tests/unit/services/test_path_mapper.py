"""What a call means to the decision point, and what is refused because it could mean two things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from app.core.errors import AmbiguousPathError, BadRequestError, UnmappedError
from app.core.permission_sources import parse_source
from app.core.permissions import Permission, Resource
from app.core.request_target import parse_request_target
from app.core.routes import PermissionMapping, Route, RouteTable
from app.services.path_mapper import MappedCall, PathMapper
from tests.unit.core.builders import build_route


def mapping(resource: str = "form", action: str = "read", id_from: str = "", **props: str) -> PermissionMapping:
    return PermissionMapping(resource, action, id_from, props)


def map_call(
    *routes: Route,
    path: str,
    method: str = "GET",
    endpoint_map: Mapping[str, Mapping[str, PermissionMapping]] | None = None,
    is_default_mapping_enabled: bool = False,
) -> MappedCall:
    match = RouteTable(routes).match(path)
    assert match is not None
    mapper = PathMapper(routes, endpoint_map or {}, is_default_mapping_enabled=is_default_mapping_enabled)
    return mapper.map_call(match, method, path)


FORMS = build_route(
    "/api/forms/*",
    methods=frozenset({"GET", "HEAD", "POST", "DELETE"}),
    authz_map={"GET": mapping(id_from="{path}"), "POST": mapping(action="create", kind="$.kind")},
)


def test_the_routes_own_map_comes_first() -> None:
    mapped = map_call(FORMS, path="/api/forms/42", endpoint_map={"/api/forms/{id}": {"GET": mapping("other")}})
    assert mapped.resolve(None) == Permission("read", Resource("form", "42"))


def test_the_endpoint_map_says_what_the_route_does_not() -> None:
    endpoint_map = {
        "/api/forms/{id}": {"DELETE": mapping(action="delete", id_from="{id}")},
        "/api/forms/*": {"DELETE": mapping(action="purge")},
    }
    mapped = map_call(FORMS, path="/api/forms/42", method="DELETE", endpoint_map=endpoint_map)
    assert mapped.resolve(None) == Permission("delete", Resource("form", "42"))
    deeper = map_call(FORMS, path="/api/forms/42/x", method="DELETE", endpoint_map=endpoint_map)
    assert deeper.resolve(None) == Permission("purge", Resource("form"))


def test_what_nothing_maps_is_derived_only_when_that_is_enabled() -> None:
    with pytest.raises(UnmappedError):
        map_call(FORMS, path="/api/forms/42", method="DELETE")
    derived = map_call(FORMS, path="/api/forms/42", method="DELETE", is_default_mapping_enabled=True)
    assert derived.resolve(None) == Permission("delete", Resource(FORMS.id, "42"))
    named = build_route("/api/{tenant}/notes/{note}")
    read = map_call(named, path="/api/a/notes/b", method="HEAD", is_default_mapping_enabled=True)
    assert read.resolve(None) == Permission("read", Resource(named.id, "b"))
    exact = build_route("/api/exact")
    create = map_call(exact, path="/api/exact", method="POST", is_default_mapping_enabled=True)
    assert create.resolve(None) == Permission("create", Resource(exact.id))


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "PROPFIND"], ids=lambda method: f"D8-{method}")
def test_a_method_that_nobody_mapped_is_unmapped(method: str) -> None:
    with pytest.raises(UnmappedError):
        map_call(FORMS, path="/api/forms/42", method=method)


def test_d7_head_follows_get_and_may_be_mapped_by_itself() -> None:
    assert map_call(FORMS, path="/api/forms/42", method="HEAD").resolve(None).action == "read"
    route = build_route("/x", authz_map={"GET": mapping(), "HEAD": mapping(action="peek")})
    assert map_call(route, path="/x", method="HEAD").resolve(None).action == "peek"


def test_a_call_about_no_single_resource_asks_about_all() -> None:
    for path in ("/api/forms", "/api/forms/"):
        assert map_call(FORMS, path=path).resolve(None).resource.id == "*"


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/api/forms/a%20b", "a b"), ("/api/forms/%C3%A9", "é"), ("/api/forms/a%2525", "a%25"), ("/api/forms/a+b", "a+b")],
)
def test_d6_what_comes_from_the_path_is_decoded_once(path: str, expected: str) -> None:
    parse_request_target(path)
    assert map_call(FORMS, path=path).resolve(None).resource.id == expected


@pytest.mark.parametrize("path", ["/api/forms/*", "/api/forms/%2A"])
def test_nobody_can_ask_about_all_by_naming_a_resource_so(path: str) -> None:
    with pytest.raises(BadRequestError):
        map_call(FORMS, path=path).resolve(None)


ODD = build_route("/api/docs/*", allow_in_path=frozenset({"encoded_slash", "encoded_unreserved", "semicolon"}))
ODD_MAP = {
    "/api/docs/{id}": {"GET": mapping(id_from="{id}")},
    "/api/docs/secret": {"GET": mapping(action="administer")},
    "/api/docs/a/{id}": {"GET": mapping(id_from="{id}")},
}


@pytest.mark.parametrize("path", ["/api/docs/%73ecret", "/api/docs/a%2Fb", "/api/docs/secret;x=1"])
def test_d6_a_path_whose_meaning_depends_on_the_decoding_is_refused(path: str) -> None:
    with pytest.raises(AmbiguousPathError):
        map_call(ODD, path=path, endpoint_map=ODD_MAP)


def test_p17_values_come_from_the_path_that_was_matched() -> None:
    wide = build_route("/api/*", id="wide", authz_map={"GET": mapping("wide")})
    narrow = build_route("/api/forms/{id}", id="narrow", authz_map={"GET": mapping("narrow", id_from="{id}")})
    assert map_call(wide, narrow, path="/api/forms/7").resolve(None).resource == Resource("narrow", "7")
    assert map_call(wide, narrow, path="/api/forms/7/x").resolve(None).resource == Resource("wide")


def resolve(source: str, query: str | None = None, body: object = None) -> object:
    route = build_route("/x/{id}", authz_map={"POST": mapping(value=source)})
    mapped = map_call(route, path="/x/1", method="POST")
    assert mapped.needs_body is source.startswith("$")
    return mapped.resolve(query, body).resource.properties.get("value", "left out")


@pytest.mark.parametrize(
    ("source", "query", "body", "expected"),
    [
        ("{id}", None, None, "1"),
        ("no-{id}", None, None, "no-1"),
        ("?q", "a=1&q=x%20y+z&b", None, "x y z"),
        ("?q", "%71=1", None, "1"),
        ("?q", "q", None, ""),
        ("?q", "a=1", None, "left out"),
        ("?q", None, None, "left out"),
        ("$.a.b[0]", None, {"a": {"b": ["x", "y"]}}, "x"),
        ("$['odd name']", None, {"odd name": False}, False),
        ("$.tags", None, {"tags": ["x", 1, True]}, ["x", 1, True]),
        ("$[1]", None, [1, 2], 2),
        ("$.a", None, {"b": 1}, "left out"),
        ("$.a.b", None, {"a": "text"}, "left out"),
        ("$.a[0]", None, {"a": {"0": 1}}, "left out"),
        ("$.a", None, "text", "left out"),
        ("$.a", None, None, "left out"),
    ],
)
def test_properties_come_from_path_query_and_body(
    source: str, query: str | None, body: object, expected: object
) -> None:
    assert resolve(source, query, body) == expected


@pytest.mark.parametrize(
    ("source", "query", "body"),
    [
        pytest.param("?q", "q=1&q=2", None, id="D6-parameter-twice"),
        pytest.param("?q", "q=1&%71=2", None, id="D6-parameter-twice-encoded"),
        pytest.param("?q", "q=%ff", None, id="bad-utf8"),
        pytest.param("$.a", None, {"a": {"b": 1}}, id="object"),
        pytest.param("$.a", None, {"a": [[1]]}, id="list-of-lists"),
        pytest.param("$.a", None, {"a": list(range(101))}, id="long-list"),
        pytest.param("$.a", None, {"a": "x" * 5000}, id="long-text"),
        pytest.param("$.a", None, {"a": 2**53}, id="large-number"),
        pytest.param("$.a", None, {"a": -1e300}, id="large-float"),
    ],
)
def test_values_that_readers_may_take_differently_are_refused(source: str, query: str | None, body: object) -> None:
    with pytest.raises(BadRequestError):
        resolve(source, query, body)


@pytest.mark.parametrize(("body", "expected"), [({"id": "7"}, "7"), ({"id": 7}, "7")])
def test_an_id_can_come_from_the_body(body: object, expected: str) -> None:
    route = build_route("/x", authz_map={"POST": mapping(id_from="$.id")})
    assert map_call(route, path="/x", method="POST").resolve(None, body).resource.id == expected


@pytest.mark.parametrize(
    "body", [None, {}, {"id": ""}, {"id": "*"}, {"id": None}, {"id": True}, {"id": 1.5}, {"id": ["7"]}]
)
def test_a_call_that_hides_which_resource_it_is_about_is_refused(body: Any) -> None:
    route = build_route("/x", authz_map={"POST": mapping(id_from="$.id")})
    with pytest.raises(BadRequestError):
        map_call(route, path="/x", method="POST").resolve(None, body)


@pytest.mark.parametrize(
    "text",
    ["", "id", "{id", "{a}{b}", "{a-b}", "x{a}y}", "?", "$..a", "$.a[*]", "$[?@.a]", "$.a.", "$.a[", "$a", "$.a[0:2]"],
)
def test_a_source_that_is_none_is_told_at_start(text: str) -> None:
    with pytest.raises(ValueError, match=" "):
        parse_source(text)


def test_the_actions_on_a_type_of_resource_are_known() -> None:
    endpoint_map = {"/api/forms/{id}": {"PUT": mapping(action="update"), "GET": mapping("page")}}
    mapper = PathMapper((FORMS,), endpoint_map)
    assert mapper.list_actions("form") == ("create", "read", "update")
    assert mapper.list_actions("page") == ("read",)
    assert mapper.list_actions("nothing") == ()
