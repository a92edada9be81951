"""Reads the request target once and refuses what could be read in a second way.

The path that is matched is the path that is authorized and the path that is sent, byte for byte: nothing here decodes,
cleans or normalises. A path that another reader (a proxy before us, a backend behind us) may read as a different path
is refused with `ambiguous_path`. Three spellings that some backends need can be allowed by a route (`allow_in_path`);
they are recorded as `oddities` and judged once the route is known. The query is never looked into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import msgspec

from app.core.errors import AmbiguousPathError, BadRequestError
from app.core.own_endpoints import is_own_path
from app.core.routes import PathOption, RouteMatch, RouteTable

_NO_ODDITIES: frozenset[PathOption] = frozenset()

_NOT_A_DOT_SEGMENT = r"(?!\.\.?(?:[/?]|\Z))"
_PLAIN_SEGMENT = _NOT_A_DOT_SEGMENT + r"[A-Za-z0-9._~!$&'()*+,=:@\-\[\]|^\"<>`{}]++"
_QUERY = r"[!\"$-~\x80-\xff]*+"
_PLAIN_TARGET = re.compile(rf"(/(?:{_PLAIN_SEGMENT}(?:/{_PLAIN_SEGMENT})*+/?+)?+)(?:\?({_QUERY}))?+")
"""What nearly every request looks like: no escape, no `;`, nothing to judge. One pass, no backtracking."""

_VALID_QUERY = re.compile(_QUERY)
_PRINTABLE_ASCII = re.compile(r"[!-~]*+")
_MALFORMED_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODED_CONTROL = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
_ENCODED_UNRESERVED = re.compile(r"%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])")
"""RFC 3986 §2.3: `%61` and `a` are the same, and so they are two spellings of one path."""
_ENCODED_SLASH = re.compile(r"%2[Ff]")
_ENCODED_BACKSLASH = re.compile(r"%5[Cc]")
_SEMICOLON = re.compile(r";|%3[Bb]")
_PARAMETERS = re.compile(r";[^/]*")
_QUERY_OR_FRAGMENT = re.compile(r"[?#].*")


class RequestTarget(msgspec.Struct, frozen=True, gc=False):
    """A request target in origin form (RFC 9112 §3.2.1), split at the first `?`, otherwise as it came."""

    path: str
    query: str | None
    """Without the `?`; None when there was none, "" when nothing followed it."""
    oddities: frozenset[PathOption] = _NO_ODDITIES
    """What the path holds that only an opted-in route takes."""


def parse_request_target(raw_target: str) -> RequestTarget:
    """Splits the wire text of the request line (latin-1 decoded) and judges the path.

    Raises `AmbiguousPathError` for a path with a second reading, `BadRequestError` for what is no origin-form target.
    Does not judge `oddities`: `check_target_fits_route` does, once the route is known.
    """
    plain = _PLAIN_TARGET.fullmatch(raw_target)
    if plain is not None:
        return RequestTarget(plain[1], plain[2])
    return _parse_unusual_target(raw_target)


def _parse_unusual_target(raw_target: str) -> RequestTarget:
    if not raw_target.startswith("/"):
        # `*`, absolute-form, authority-form or nonsense: none of them names a path on this server (RFC 9112 §3.2).
        raise BadRequestError("The request target must be a path.")
    path, question_mark, query = raw_target.partition("?")
    _check_path(path)
    if not _VALID_QUERY.fullmatch(query):
        raise BadRequestError("The query holds a character that must not stand in a request target.")
    return RequestTarget(path, query if question_mark else None, _find_oddities(path))


def _check_path(path: str) -> None:
    if not _PRINTABLE_ASCII.fullmatch(path):
        raise AmbiguousPathError("The path holds a character outside printable ASCII.")
    if "\\" in path or _ENCODED_BACKSLASH.search(path):
        raise AmbiguousPathError("The path holds a backslash.")
    if "#" in path:
        raise AmbiguousPathError("The path holds a fragment.")
    if "//" in path:
        raise AmbiguousPathError("The path holds an empty segment.")
    if _MALFORMED_ESCAPE.search(path):
        raise AmbiguousPathError("The path holds a malformed percent escape.")
    if _ENCODED_CONTROL.search(path):
        raise AmbiguousPathError("The path holds an encoded control character.")
    if _has_dot_segment(_decode_once(path)):
        raise AmbiguousPathError("The path holds a dot segment.")


def _decode_once(path: str) -> str:
    try:
        return unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise AmbiguousPathError("The path is not UTF-8 once decoded.") from None


def _has_dot_segment(decoded_path: str) -> bool:
    """Also finds what hides behind an encoded slash or a matrix parameter: `%2f..%2f`, `/..;x=1/`."""
    return any(segment.partition(";")[0] in {".", ".."} for segment in decoded_path.split("/"))


def _find_oddities(path: str) -> frozenset[PathOption]:
    oddities: set[PathOption] = set()
    if _ENCODED_SLASH.search(path):
        oddities.add("encoded_slash")
    if _SEMICOLON.search(path):
        oddities.add("semicolon")
    if _ENCODED_UNRESERVED.search(path):
        oddities.add("encoded_unreserved")
    return frozenset(oddities)


def check_target_fits_route(target: RequestTarget, match: RouteMatch | None, table: RouteTable) -> None:
    """Refuses a target whose other spelling leads elsewhere, or that holds what the route did not opt in to.

    To be called with whatever `table.match(target.path)` gave, None too: an odd path that matches nothing is ambiguous,
    not missing. Raises `AmbiguousPathError`; does not raise for a plain path without a route.
    """
    path = target.path
    if "%" not in path and ";" not in path:
        return
    allowed = match.route.allow_in_path if match is not None else _NO_ODDITIES
    if not target.oddities <= allowed:
        raise AmbiguousPathError("The path holds an encoding that is not allowed here.")
    is_own = is_own_path(path)
    for spelling in list_other_spellings(path):
        other = table.match(spelling)
        leads_to_another_route = other is not None and (match is None or other.route is not match.route)
        if leads_to_another_route or is_own_path(spelling) != is_own:
            raise AmbiguousPathError("The path leads to different places depending on how it is decoded.")


def list_other_spellings(path: str) -> Iterator[str]:
    """What other readers may make of the path: decoded once, cut short, or normalised as RFC 3986 §6.2.2.2 says."""
    decoded = _decode_once(path)
    without_parameters = _PARAMETERS.sub("", path)
    yield decoded
    yield _PARAMETERS.sub("", decoded)
    yield _QUERY_OR_FRAGMENT.sub("", decoded)
    yield without_parameters
    yield _decode_once(without_parameters)
    yield _ENCODED_UNRESERVED.sub(lambda escape: chr(int(escape[0][1:], 16)), path)
