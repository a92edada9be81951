"""Paths with named segments and tails, and the table that finds the most specific of them.

Exact wins, then named segments, then the longest prefix. Matching is on raw bytes; nothing is decoded to find an entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from types import MappingProxyType
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class RoutePath:
    """A route's `path`, taken apart. A segment that is None is a named one."""

    segments: tuple[str | None, ...]
    names: tuple[str, ...]
    has_tail: bool
    """Ends in `*`; the `*` is not among the segments."""

    def is_exact(self) -> bool:
        return not self.names and not self.has_tail


_LITERAL_SEGMENT = re.compile(r"[A-Za-z0-9._~!$&'()+,=:@-]+")
_NAMED_SEGMENT = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def parse_route_path(path: str) -> RoutePath:
    """Takes a route's `path` apart; raises ValueError with a sentence when it is not one.

    Literal segments are plain ASCII without escapes, so that a route has one spelling only.
    """
    if not path.startswith("/"):
        raise ValueError("a path starts with /")
    parts = path[1:].split("/")
    has_tail = parts[-1] == "*"
    segments = [_parse_segment(part, is_last=index == len(parts) - 1) for index, part in enumerate(parts)]
    if has_tail:
        segments.pop()
    names = tuple(part[1:-1] for part, segment in zip(parts, segments, strict=False) if segment is None)
    if len(set(names)) != len(names):
        raise ValueError("each {name} may stand in a path only once")
    if "path" in names:
        raise ValueError("{path} is what * caught, so no segment can have that name")
    return RoutePath(tuple(segments), names, has_tail)


def _parse_segment(part: str, *, is_last: bool) -> str | None:
    if part == "*":
        if is_last:
            return part
        raise ValueError("* may stand only at the end of a path, after a /")
    if part == "":
        if is_last:
            return part
        raise ValueError("a path has no empty segment")
    if _NAMED_SEGMENT.fullmatch(part):
        return None
    if part in {".", ".."}:
        raise ValueError("a path has no dot segment")
    if not _LITERAL_SEGMENT.fullmatch(part):
        raise ValueError("a segment is {name}, * at the end, or plain ASCII without % ; * { } and spaces")
    return part


@dataclass(frozen=True, slots=True)
class _Entry(Generic[Value]):
    value: Value
    names: tuple[str, ...]


@dataclass(slots=True)
class _Node(Generic[Value]):
    literals: dict[str, _Node[Value]] = field(default_factory=dict)
    named: _Node[Value] | None = None
    full: _Entry[Value] | None = None
    """What belongs to the path that ends here."""
    tail: _Entry[Value] | None = None
    """What belongs to the path that has `*` here."""


_Found = tuple[_Entry[Value], tuple[str, ...], int, bool]
"""Entry, captured segments, how many segments stand before the tail, and whether it matched without a tail."""

_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


class PathTable(Generic[Value]):
    """Finds what belongs to a path, in time that depends on the path's depth and not on the number of entries.

    The entries must not tie (`find_ties`).
    """

    def __init__(self, entries: Iterable[tuple[str, Value]]) -> None:
        """Raises ValueError for a malformed path."""
        self._exact: dict[str, tuple[Value, Mapping[str, str]]] = {}
        self._root: _Node[Value] = _Node()
        values = []
        for path, value in entries:
            parsed = parse_route_path(path)
            values.append(value)
            if parsed.is_exact():
                self._exact[path] = (value, _NO_PARAMS)
            else:
                _insert(self._root, value, parsed)
        self.values: tuple[Value, ...] = tuple(values)

    def find_exact(self, path: str) -> tuple[Value, Mapping[str, str]] | None:
        """As `find`, among the paths without names and tails only."""
        return self._exact.get(path)

    def find(self, path: str) -> tuple[Value, Mapping[str, str]] | None:
        """Returns what belongs to a raw path, with what its named segments and `*` caught (raw), or None."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact
        segments = path[1:].split("/")
        found = _find(self._root, segments, 0, ())
        if found is None:
            return None
        entry, captured, depth, is_full = found
        params = dict(zip(entry.names, captured, strict=True))
        if not is_full:
            params["path"] = "/".join(segments[depth:])
        return entry.value, params


def _insert(root: _Node[Value], value: Value, path: RoutePath) -> None:
    node = root
    for segment in path.segments:
        if segment is None:
            node.named = node.named or _Node()
            node = node.named
        else:
            node = node.literals.setdefault(segment, _Node())
    entry = _Entry(value, path.names)
    if path.has_tail:
        node.tail = entry
    else:
        node.full = entry


def _find(node: _Node[Value], segments: list[str], index: int, captured: tuple[str, ...]) -> _Found[Value] | None:
    """Goes down literal segments first: of two matching paths, the one with the literal is the more specific."""
    best: _Found[Value] | None = None
    if index < len(segments):
        segment = segments[index]
        child = node.literals.get(segment)
        if child is not None:
            best = _find(child, segments, index + 1, captured)
            if best is not None and best[3]:
                return best
        if node.named is not None and segment:
            other = _find(node.named, segments, index + 1, (*captured, segment))
            if other is not None and (best is None or other[3] or other[2] > best[2]):
                best = other
    elif node.full is not None:
        return node.full, captured, index, True
    if best is None and node.tail is not None:
        return node.tail, captured, index, False
    return best


def find_ties(paths: Sequence[RoutePath]) -> Iterator[tuple[int, int]]:
    """Positions of two paths that tie, the earlier one first.

    They do when they have one kind and length, share a path, and neither lies within the other.
    """
    first_by_shape: dict[tuple[tuple[str | None, ...], bool], int] = {}
    with_names: dict[tuple[int, bool], list[int]] = {}
    for index, path in enumerate(paths):
        shape = (path.segments, path.has_tail)
        if shape in first_by_shape:
            yield first_by_shape[shape], index
            continue
        first_by_shape[shape] = index
        if path.names:
            with_names.setdefault((len(path.segments), path.has_tail), []).append(index)
    for group in with_names.values():
        for first, second in combinations(group, 2):
            if _cross(paths[first].segments, paths[second].segments):
                yield first, second


def _cross(first: Sequence[str | None], second: Sequence[str | None]) -> bool:
    """Tells whether the two overlap while each is the narrower one somewhere: `/a/{x}/c` and `/a/b/{y}`."""
    pairs = [(one, other) for one, other in zip(first, second, strict=True) if one != other]
    if any(one is not None and other is not None for one, other in pairs) or ("" in first) != ("" in second):
        return False
    return any(one is None for one, _ in pairs) and any(other is None for _, other in pairs)


def share_a_path(first: RoutePath, second: RoutePath) -> bool:
    """Tells whether any path belongs to both, whichever of them would win it."""
    for one, other in zip(first.segments, second.segments, strict=False):
        if one is not None and other is not None and one != other:
            return False
        if (one == "") != (other == ""):
            return False
    shorter, longer = sorted((first, second), key=lambda path: len(path.segments))
    return (
        shorter.has_tail
        or len(shorter.segments) == len(longer.segments)
        or (longer.has_tail and len(longer.segments) == len(shorter.segments))
    )
