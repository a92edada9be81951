"""Tells whether all paths of one pattern belong to another, and what the other's names catch then."""

from __future__ import annotations

import re
from collections.abc import Mapping

from app.core.path_table import RoutePath

_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


def express_within(inner: RoutePath, outer: RoutePath) -> Mapping[str, str] | None:
    """Returns what each name of `outer` (`path` for its `*`) is in a path of `inner`, as a template in the names of
    `inner`; None unless every path of `inner` is one of `outer`."""
    depth = len(outer.segments)
    has_room = len(inner.segments) >= depth if outer.has_tail else len(inner.segments) == depth and not inner.has_tail
    if not has_room:
        return None
    inner_names, outer_names = iter(inner.names), iter(outer.names)
    pieces = [f"{{{next(inner_names)}}}" if segment is None else segment for segment in inner.segments]
    expressions = {}
    for segment, inner_segment, piece in zip(outer.segments, inner.segments, pieces, strict=False):
        if segment is None:
            if piece == "":
                return None
            expressions[next(outer_names)] = piece
        elif segment != inner_segment:
            return None
    if outer.has_tail:
        expressions["path"] = "/".join([*pieces[depth:], *(["{path}"] if inner.has_tail else [])])
    return expressions


def translate_template(template: str, expressions: Mapping[str, str]) -> str:
    """Puts the expression in the place of each `{name}`."""
    return _PLACEHOLDER.sub(lambda found: expressions[found[1]], template)


def has_placeholder(template: str) -> bool:
    return _PLACEHOLDER.search(template) is not None
