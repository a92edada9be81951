"""Proves that two configurations answer alike: both are asked what every kind of call means and where it goes.

For each path of a route or of `endpoint_map`, in either of them, calls are made up: with plain and encoded segments in
the place of names, with tails of every depth, with every method. A call that one maps the other has to map to the very
same permission and send to the very same address; one that is refused has to be refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from app.core.errors import BffError
from app.core.path_table import parse_route_path
from app.core.permissions import Permission
from app.core.request_target import parse_request_target
from app.core.upstream_target import build_upstream_target
from app.services.authorization import build_path_mapper
from app.settings import Configuration
from app.settings.conversion import build_permission_mappings

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_SEGMENTS = ("a1", "b%20c", "d")
_TAILS = (None, "", "t", "t%2Bu/v", "t/u/v/")
_STEP = re.compile(r"""\.([A-Za-z_][\w-]*)|\[(\d+)\]|\['([^']*)'\]|\["([^"]*)"\]""")

REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What becomes of a call as far as its path and method decide."""

    service: str
    upstream: str
    auth: str
    permission: Permission | None
    """None: the route asks nobody."""


@dataclass(frozen=True, slots=True)
class Difference:
    method: str
    path: str
    before: Meaning | str
    after: Meaning | str


@dataclass(frozen=True, slots=True)
class Proof:
    calls: int
    """How many were asked about."""
    by_entry: Mapping[str, int]
    """How many of them each entry spoke for, and both answered alike."""
    differences: tuple[Difference, ...]


def prove(before: Configuration, after: Configuration) -> Proof:
    """Asks both about every made-up call."""
    old, new = _Answering(before), _Answering(after)
    calls = 0
    by_entry = dict.fromkeys(before.pdp.endpoint_map, 0)
    differences = []
    for path, method in product(sorted(_make_up_paths(before, after)), METHODS):
        calls += 1
        answers = old.answer(method, path), new.answer(method, path)
        if answers[0] != answers[1]:
            differences.append(Difference(method, path, *answers))
        elif entry := old.find_entry(method, path):
            by_entry[entry] += 1
    return Proof(calls, by_entry, tuple(differences))


class _Answering:
    def __init__(self, configuration: Configuration) -> None:
        self._table = configuration.route_table
        self._mapper = build_path_mapper(configuration)
        sources = [
            text
            for mappings in (
                *(route.authz_map for route in self._table.routes),
                *map(build_permission_mappings, configuration.pdp.endpoint_map.values()),
            )
            for mapping in mappings.values()
            for text in (mapping.id_from, *mapping.props.values())
        ]
        self._query = "&".join(sorted({f"{text[1:]}=of-{text[1:]}" for text in sources if text.startswith("?")}))
        self._body: object = None
        for text in sorted({text for text in sources if text.startswith("$")}):
            self._body = _put(self._body, [_read_step(found) for found in _STEP.finditer(text)], f"at {text}")

    def answer(self, method: str, path: str) -> Meaning | str:
        match = self._table.match(path)
        if match is None or method not in match.route.methods:
            return REFUSED
        route = match.route
        upstream = build_upstream_target(match, parse_request_target(path), "")
        if route.authz == "none":
            return Meaning(route.service.name, upstream, route.auth, None)
        try:
            permission = self._mapper.map_call(match, method, path).resolve(self._query, self._body)
        except BffError:
            return REFUSED
        return Meaning(route.service.name, upstream, route.auth, permission)

    def find_entry(self, method: str, path: str) -> str:
        """The entry of `endpoint_map` that speaks for the call; empty when none does."""
        match = self._table.match(path)
        if match is None or method not in match.route.methods or match.route.authz == "none":
            return ""
        try:
            source = self._mapper.map_call(match, method, path).source
        except BffError:
            return ""
        return source.path if source.kind == "endpoint_map" else ""


def _make_up_paths(*configurations: Configuration) -> Iterator[str]:
    patterns = {route.path for each in configurations for route in each.route_table.routes}
    patterns |= {path for each in configurations for path in each.pdp.endpoint_map}
    for pattern in patterns:
        shape = parse_route_path(pattern)
        for offset in range(len(_SEGMENTS) if shape.names else 1):
            numbers = iter(range(offset, offset + len(shape.segments)))
            pieces = [
                _SEGMENTS[next(numbers) % len(_SEGMENTS)] if segment is None else segment for segment in shape.segments
            ]
            # Beyond a path without a tail too: what nobody mapped has to stay refused.
            for tail in _TAILS:
                yield "/" + "/".join(pieces if tail is None else [*pieces, tail])


def _read_step(found: re.Match[str]) -> str | int:
    name, index, single, double = found.groups()
    return int(index) if index is not None else next(text for text in (name, single, double) if text is not None)


def _put(document: object, steps: list[str | int], value: object) -> object:
    """Returns the document with the value in it, where nothing else stands in its way."""
    if not steps:
        return document if document is not None else value
    step, *rest = steps
    if isinstance(step, int):
        items = list(document) if isinstance(document, list) else []
        items += [None] * (step + 1 - len(items))
        items[step] = _put(items[step], rest, value)
        return items
    members = dict(document) if isinstance(document, dict) else {}
    members[step] = _put(members.get(step), rest, value)
    return members
