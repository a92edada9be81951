from __future__ import annotations

import pytest

from app.settings.layers import lay_over, lay_over_defaults


@pytest.mark.parametrize(
    ("below", "above", "result"),
    [
        ({"a": 1, "b": 2}, {"b": 3}, {"a": 1, "b": 3}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": 1}}, {"a": None}, {"a": {"b": 1}}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": {"b": 1}}, {"a": "text"}, {"a": "text"}),
        ({"a": 1}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({}, {"a": 1}, {"a": 1}),
    ],
)
def test_sections_are_merged_and_everything_else_is_replaced(below: object, above: object, result: object) -> None:
    assert lay_over(below, above) == result


def test_nothing_that_is_laid_over_is_changed() -> None:
    below, above = {"a": {"b": 1}}, {"a": {"c": 2}}
    lay_over(below, above)
    assert (below, above) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_every_entry_gets_the_defaults_of_its_kind() -> None:
    defaults = {"route": {"methods": ["GET"]}, "service": {"retry": 1, "tls": {"ca_file": ""}}}
    tree = {"services": {"a": {"retry": 0}, "b": None}, "routes": [{"path": "/a"}, "nonsense"], "other": 1}
    assert lay_over_defaults("routes.yaml", tree, defaults) == {
        "services": {"a": {"retry": 0, "tls": {"ca_file": ""}}, "b": {"retry": 1, "tls": {"ca_file": ""}}},
        "routes": [{"path": "/a", "methods": ["GET"]}, "nonsense"],
        "other": 1,
    }


@pytest.mark.parametrize("tree", [{"routes": "text"}, {"routes": {"a": 1}}, {"services": ["a"]}, {}, "text"])
def test_a_tree_of_another_shape_is_left_to_the_schema(tree: object) -> None:
    assert lay_over_defaults("routes.yaml", tree, {"route": {"x": 1}, "service": {"x": 1}}) == tree
