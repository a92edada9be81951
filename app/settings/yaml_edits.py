"""Changes a YAML text at a few places and leaves every other byte as it is: comments, order, quotes, blank lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml


class CannotEditError(Exception):
    """The text is written in a way that this cannot change. Says which."""


@dataclass(frozen=True, slots=True)
class Edit:
    start: int
    end: int
    text: str


class YamlText:
    """Collects edits of one text; `build` makes them all."""

    def __init__(self, text: str) -> None:
        """Raises `CannotEditError` for a text with aliases: what stands once would have to differ."""
        self._text = text
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise CannotEditError("it holds aliases (*name)")
        self._root = yaml.compose(text, Loader=yaml.SafeLoader)
        self.tree: Any = yaml.safe_load(text)
        self._edits: list[Edit] = []

    def add_to_mapping(self, path: Sequence[str | int], entries: Mapping[str, object]) -> None:
        """Adds keys behind those that the mapping at `path` has."""
        node = self._find(path)
        if not isinstance(node, yaml.MappingNode):
            raise CannotEditError(f"{_tell(path)} is no mapping")
        if node.flow_style or not node.value:
            text = ", ".join(_dump_flow({key: value}).strip()[1:-1] for key, value in entries.items())
            at = node.end_mark.index - 1
            while self._text[at - 1].isspace():
                at -= 1
            separator = ", " if node.value and self._text[at - 1] != "," else ""
            self._edits.append(Edit(at, at, separator + text))
            return
        at = self._find_line_end(_find_end(node))
        lines = _dump_block(entries).splitlines()
        self._edits.append(Edit(at, at, "".join(f"\n{' ' * node.start_mark.column}{line}" for line in lines)))

    def insert_before(self, path: Sequence[str | int], items: Sequence[Mapping[str, object]]) -> None:
        """Puts items before the one at `path` of a list in block style."""
        at, indent = self._find_item(path)
        self._edits.append(Edit(at, at, "".join(_dump_item(item, indent) for item in items)))

    def replace_item(self, path: Sequence[str | int], items: Sequence[Mapping[str, object]]) -> None:
        at, indent = self._find_item(path)
        end = self._find_line_end(_find_end(self._find(path)))
        self._edits.append(Edit(at, min(end + 1, len(self._text)), "".join(_dump_item(item, indent) for item in items)))

    def remove_keys(self, path: Sequence[str | int], keys: Sequence[str]) -> None:
        """Takes keys out of the mapping at `path`, each with its whole lines."""
        node = self._find(path)
        if not isinstance(node, yaml.MappingNode):
            raise CannotEditError(f"{_tell(path)} is no mapping")
        if len(keys) == len(node.value):
            start = node.start_mark.index if node.flow_style else self._find_key_end(path)
            self._edits.append(Edit(start, _find_end(node), "{}" if node.flow_style else " {}"))
            return
        if node.flow_style:
            raise CannotEditError(f"{_tell(path)} stands within braces; write one entry a line")
        for key, value in node.value:
            if key.value in keys:
                start = self._text.rfind("\n", 0, key.start_mark.index) + 1
                self._edits.append(Edit(start, min(self._find_line_end(_find_end(value)) + 1, len(self._text)), ""))

    def build(self) -> str:
        text = self._text
        for edit in sorted(self._edits, key=lambda edit: (edit.start, edit.end), reverse=True):
            text = text[: edit.start] + edit.text + text[edit.end :]
        return text

    def _find(self, path: Sequence[str | int]) -> yaml.Node:
        node = self._root
        if node is None:
            raise CannotEditError("it is empty")
        for step in path:
            if isinstance(step, int) and isinstance(node, yaml.SequenceNode):
                node = node.value[step]
            elif isinstance(node, yaml.MappingNode):
                node = next(value for key, value in node.value if key.value == step)
        return node

    def _find_key_end(self, path: Sequence[str | int]) -> int:
        """Behind the colon of the last key."""
        key = next(key for key, _ in self._find(path[:-1]).value if key.value == path[-1])
        return self._text.index(":", key.end_mark.index) + 1

    def _find_item(self, path: Sequence[str | int]) -> tuple[int, int]:
        """Where the item's line begins, and the column of its dash."""
        node = self._find(path)
        start = self._text.rfind("\n", 0, node.start_mark.index) + 1
        before = self._text[start : node.start_mark.index]
        if before.strip() != "-":
            raise CannotEditError(f"{_tell(path)} is not written as an item of a list on a line of its own")
        return start, before.index("-")

    def _find_line_end(self, index: int) -> int:
        found = self._text.find("\n", index)
        return len(self._text) if found < 0 else found


def _find_end(node: yaml.Node) -> int:
    """Where the text of a node ends; a block's own mark stands behind the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _find_end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _dump_flow(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000)


def _dump_block(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=None, sort_keys=False, allow_unicode=True, width=10_000)


def _dump_item(item: Mapping[str, object], indent: int) -> str:
    first, *others = _dump_block(dict(item)).splitlines()
    lines = [f"{' ' * indent}- {first}", *(f"{' ' * (indent + 2)}{line}" for line in others)]
    return "".join(f"{line}\n" for line in lines)


def _tell(path: Sequence[str | int]) -> str:
    return ".".join(map(str, path))
