from __future__ import annotations

import pytest

from app.settings.yaml_document import MAX_TEXT_BYTES, MAX_VALUES, YamlSyntaxError, parse_yaml_document, parse_yaml_text


def test_every_key_and_item_has_its_line() -> None:
    document = parse_yaml_document("# first\nserver:\n  public_url: x\nlist:\n  - a\n  - {b: 1}\n")
    assert document.value == {"server": {"public_url": "x"}, "list": ["a", {"b": 1}]}
    assert document.lines[("server",)] == 2
    assert document.lines[("server", "public_url")] == 3
    assert document.lines[("list", 1)] == 6
    assert document.lines[("list", 1, "b")] == 6


def test_a_key_given_twice_is_told_with_its_line() -> None:
    document = parse_yaml_document("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")
    assert document.repeated == ((("b", "c"), 4), (("a",), 5))
    assert document.value == {"a": 1, "b": {"c": 1}}


def test_an_empty_text_says_nothing() -> None:
    assert parse_yaml_document("# only a comment\n").value is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.5", 1.5),
        ("true", True),
        ("[a, b]", ["a", "b"]),
        ("{a: b}", {"a": "b"}),
        ("", None),
        ("2024-01-01", "2024-01-01"),
        ("{on: 1, 2: 3}", {"on": 1, "2": 3}),
    ],
)
def test_plain_data_comes_out_and_keys_stay_as_written(text: str, value: object) -> None:
    assert parse_yaml_text(text) == value


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param("a: [1, 2", "YAML that can be read", id="unclosed"),
        pytest.param("a: b: c", "YAML that can be read", id="two-colons"),
        pytest.param("a: 'x", "YAML that can be read", id="unclosed-quote"),
        pytest.param("\ta: 1", "spaces", id="tab"),
        pytest.param("a:\n\tb: 1", "spaces", id="tab-below-a-key"),
        pytest.param("a: *nowhere", "YAML that can be read", id="unknown-alias"),
        pytest.param("a: 1\n---\nb: 1", "YAML that can be read", id="two-documents"),
        pytest.param("a: \x07", "printable", id="control-character"),
        pytest.param("a: !!python/object/apply:os.system [x]", "without tags", id="python-object"),
        pytest.param("a: !secret x", "without tags", id="own-tag"),
        pytest.param("a: !!binary aGk=", "without tags", id="binary"),
        pytest.param("a: !!set {x}", "without tags", id="set"),
        pytest.param("a: !!int x", "a number", id="not-the-number-it-claims"),
        pytest.param("? [a, b]\n: 1", "a plain name", id="list-as-key"),
        pytest.param("a: &x {b: 1}\nc:\n  <<: *x", "<<", id="merge-key"),
        pytest.param("a: &x [*x]", "holds itself", id="alias-to-itself"),
        pytest.param("[" * 5000, "less deeply", id="nested-too-deeply"),
        pytest.param("[" * 1_000_000, "less deeply", id="nested-far-too-deeply"),
        pytest.param("- " * 100_000 + "a", "less deeply", id="lists-in-lists"),
        pytest.param("a: " + "x" * MAX_TEXT_BYTES, "at most", id="too-long"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(text: str, wanted: str) -> None:
    with pytest.raises(YamlSyntaxError, match=wanted):
        parse_yaml_document(text)


def test_an_alias_bomb_meets_a_bound() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(YamlSyntaxError, match=str(MAX_VALUES)):
        parse_yaml_document("\n".join(lines))


def test_ten_thousand_routes_are_read() -> None:
    more = "target_service: s, upstream_path: /x, auth: session, authz: none, methods: [GET]"
    lines = [f"- {{path: /api/a{n}/*, {more}}}" for n in range(10_000)]
    routes = parse_yaml_document("\n".join(["routes:", *lines])).value["routes"]  # type: ignore[index]
    assert len(routes) == 10_000
    assert routes[-1]["path"] == "/api/a9999/*"


def test_an_alias_may_be_used() -> None:
    assert parse_yaml_text("{a: &x [1], b: *x}") == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    "text", ["a: *hunter2", "a: !hunter2 x", "a: &hunter2 1\nb: &hunter2", "a: 'hunter2", "%hunter2"]
)
def test_a_syntax_error_never_repeats_the_text(text: str) -> None:
    with pytest.raises(YamlSyntaxError) as caught:
        parse_yaml_document(text)
    assert "hunter2" not in str(caught.value) + repr(caught.value)


def test_a_short_text_may_not_repeat_a_key_either() -> None:
    with pytest.raises(YamlSyntaxError, match="each key once"):
        parse_yaml_text("{a: 1, a: 2}")
