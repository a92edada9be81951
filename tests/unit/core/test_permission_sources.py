"""What a question takes from a call is what every backend reads there, or the call is refused."""

from __future__ import annotations

import pytest

from app.core.errors import BadRequestError
from app.core.permission_sources import CallValues, compile_mapping
from app.core.routes import PermissionMapping


def find(source: str, *, query: str | None = None, body: object = None) -> object:
    mapping = compile_mapping(PermissionMapping("form", "read", "", {"value": source}))
    return mapping.resolve(CallValues({}, query, body)).resource.properties.get("value")


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("$.kind", {"kind": "public", "Kind": "secret"}),
        ("$.kind", {"KIND": "secret"}),
        ("$.kind", {"\u212aind": "secret"}),  # the sign for Kelvin, whose small letter is k
        ("$.a.kind", {"a": {"other": 1}, "A": {"kind": "secret"}}),
        ("$.a[0].kind", {"a": [{"kinD": "secret"}]}),
    ],
)
def test_d6_a_name_that_some_readers_take_for_the_mapped_one_is_refused(source: str, body: object) -> None:
    """Go's encoding/json, for one, takes the last of names that differ in capitals only."""
    with pytest.raises(BadRequestError):
        find(source, body=body)


@pytest.mark.parametrize(
    ("source", "body", "value"),
    [
        ("$.kind", {"kind": "a", "Other": 1, "other": 2}, "a"),
        ("$.a.b[1]", {"a": {"b": [1, "x"]}, "B": 1}, "x"),
        ("$.a[-1].b", {"a": [{"B": 1}, {"b": 2}]}, 2),
        ("$.a[5].b", {"a": []}, None),
        ("$.a.b", {"a": [1]}, None),
        ("$['x y']", {"x y": True}, True),
    ],
)
def test_names_elsewhere_may_be_spelled_as_they_like(source: str, body: object, value: object) -> None:
    assert find(source, body=body) == value


@pytest.mark.parametrize("query", ["v=1&V=2", "V=2", "v=1;v=2", "x=1;v=2", "v=1&v=2", "v=1&%76=2", "v=%ff"])
def test_d6_a_query_that_readers_differ_about_is_refused(query: str) -> None:
    with pytest.raises(BadRequestError):
        find("?v", query=query)


@pytest.mark.parametrize(("query", "value"), [("v=1%3B2", "1;2"), ("w=1&v=a+b", "a b"), ("w=1", None), (None, None)])
def test_a_query_that_is_read_in_one_way_only_is_told(query: str | None, value: object) -> None:
    assert find("?v", query=query) == value
