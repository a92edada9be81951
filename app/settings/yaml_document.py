"""Reads YAML safely and remembers the line of every key.

PyYAML's composer gives nodes with positions; values are built from them here. So nothing but plain data can come out,
a key given twice is an error instead of a surprise, and an alias bomb meets a bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]

MAX_TEXT_BYTES = 8 * 1024 * 1024
MAX_VALUES = 500_000
"""Values in one document, aliases counted as often as they are used. Ten thousand routes have some hundred thousand."""

_DEEP = 100

_PLAIN_TAG = "tag:yaml.org,2002:"
_DATA_TAGS = frozenset(_PLAIN_TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))
_TEXT_TAGS = frozenset(_PLAIN_TAG + name for name in ("str", "timestamp"))


class YamlSyntaxError(Exception):
    """The text is not YAML that is accepted here. The sentence never repeats the text: it may be a secret."""

    def __init__(self, line: int, problem: str, found: str = "something else") -> None:
        super().__init__(problem)
        self.line = line
        self.problem = problem
        self.found = found


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """What a text says: plain values, the line (from 1) of every key and item, and the keys that are given twice."""

    value: object
    lines: dict[KeyPath, int]
    repeated: tuple[tuple[KeyPath, int], ...] = ()


@dataclass(slots=True)
class _Builder:
    constructor: yaml.constructor.SafeConstructor = field(default_factory=yaml.constructor.SafeConstructor)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    repeated: list[tuple[KeyPath, int]] = field(default_factory=list)
    open_nodes: set[int] = field(default_factory=set)
    values: int = 0

    def build(self, node: yaml.Node, path: KeyPath) -> object:
        self.values += 1
        if self.values > MAX_VALUES:
            raise YamlSyntaxError(_line_of(node), f"at most {MAX_VALUES} values, counting each use of an alias")
        self.lines.setdefault(path, _line_of(node))
        if isinstance(node, yaml.ScalarNode):
            return self._build_scalar(node)
        if id(node) in self.open_nodes:
            raise YamlSyntaxError(_line_of(node), "no alias that holds itself")
        self.open_nodes.add(id(node))
        try:
            if node.tag not in _DATA_TAGS:
                raise YamlSyntaxError(_line_of(node), "plain YAML without tags")
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
            return self._build_mapping(node, path)
        finally:
            self.open_nodes.discard(id(node))

    def _build_scalar(self, node: yaml.ScalarNode) -> object:
        if node.tag in _TEXT_TAGS:
            return node.value
        if node.tag not in _DATA_TAGS:
            raise YamlSyntaxError(_line_of(node), "plain YAML without tags")
        try:
            return self.constructor.construct_object(node)
        except (ValueError, yaml.YAMLError) as error:
            raise YamlSyntaxError(_line_of(node), "a number that can be read") from error

    def _build_mapping(self, node: yaml.Node, path: KeyPath) -> dict[str, object]:
        """Keys are taken as they are written: `on` and `1` are names here, not a bool and a number."""
        result: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlSyntaxError(_line_of(key), "a plain name as a key")
            if key.tag == _PLAIN_TAG + "merge":
                raise YamlSyntaxError(_line_of(key), "every key written out: merging with << is not supported")
            name: str = key.value
            if name in result:
                self.repeated.append(((*path, name), _line_of(key)))
                continue
            self.lines[(*path, name)] = _line_of(key)
            result[name] = self.build(value, (*path, name))
        return result


def parse_yaml_document(text: str) -> YamlDocument:
    """Read one YAML document; an empty text is a document that says nothing (None). Raises YamlSyntaxError."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise YamlSyntaxError(1, f"at most {MAX_TEXT_BYTES} bytes")
    try:
        node = _compose(text)
        builder = _Builder()
        value = builder.build(node, ()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if "character '\\t'" in (error.problem or "") and mark:
            raise YamlSyntaxError(mark.line + 1, "spaces: YAML takes no tabs between them", "a tab") from None
        raise YamlSyntaxError(mark.line + 1 if mark else 1, f"YAML that can be read: {_tell_problem(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlSyntaxError(line, "printable characters only") from None
    except RecursionError:
        raise YamlSyntaxError(1, "values that are nested less deeply") from None
    return YamlDocument(value, builder.lines, tuple(builder.repeated))


def _compose(text: str) -> yaml.Node | None:
    """With libyaml, where PyYAML has it: several times as fast. What it refuses PyYAML's own parser judges, whose words
    are told; and what is nested deeply, for libyaml's composer knows no bound but the stack's end."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if not _is_nested_deeply(text, loader):
            quickly: yaml.Node | None = yaml.compose(text, Loader=loader)
            return quickly
    except yaml.YAMLError:
        pass
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    return node


def _is_nested_deeply(text: str, loader: Any) -> bool:
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEP:
                return True
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return False


def parse_yaml_text(text: str) -> object:
    """The value of a short YAML text, as in an environment variable. Raises YamlSyntaxError, for repeated keys too."""
    document = parse_yaml_document(text)
    for _, line in document.repeated:
        raise YamlSyntaxError(line, "each key once")
    return document.value


def _line_of(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _tell_problem(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's sentence without what it quotes from the text, which may be a secret."""
    return re.sub(r"'[^']*'", "…", error.problem or "the text ends too early")


def walk_values(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    """Every value in a tree of mappings and lists with its key path, containers before what they hold."""
    yield path, value
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    for key, item in items:
        yield from walk_values(item, (*path, key))
