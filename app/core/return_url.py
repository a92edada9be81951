"""Decides whether a browser may be sent to an address that came with the request (open redirects, CWE-601).

Written against what browsers do (the WHATWG URL standard), not against RFC 3986: they read `\\` as `/`, drop tabs and
line ends, and take `//host` for another server. So nothing is parsed and put together again: either the text is one
that has no second reading, and it is used as it came, or it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from app.core.errors import BffError, UnsafeReturnToError
from app.core.request_target import parse_request_target

MAX_RETURN_TO_CHARACTERS = 2048

_URL_TEXT = re.compile(r"[!#-;=?-~]+")
"""Printable ASCII without `"`, `<` and `>`: what a browser serialises a URL to never holds anything else."""
_QUERY_OR_FRAGMENT = re.compile(r"[?#]")


def check_return_to(raw: str, *, own_origin: str, allowed_origins: Collection[str]) -> str:
    """Returns the address unchanged: a path on the origin addressed, or a URL on exactly one of the given origins.

    Origins are serialised as browsers do (`https://app.example.com`, no slash). Raises `UnsafeReturnToError`.
    """
    if len(raw) > MAX_RETURN_TO_CHARACTERS:
        raise UnsafeReturnToError("The return address is too long.")
    if not _URL_TEXT.fullmatch(raw):
        raise UnsafeReturnToError("The return address holds a character that has no place in a URL.")
    if raw.startswith("/"):
        _check_path(raw)
        return raw
    for origin in (own_origin, *allowed_origins):
        if raw.startswith(origin) and raw[len(origin) :][:1] in ("", "/", "?", "#"):
            _check_path(raw[len(origin) :])
            return raw
    raise UnsafeReturnToError


def _check_path(address: str) -> None:
    """Judges the path as strictly as a request for it would be; query and fragment never move a browser elsewhere.

    `;` and escaped letters stay allowed: the address may belong to a page that another server serves.
    """
    path = _QUERY_OR_FRAGMENT.split(address, maxsplit=1)[0] or "/"
    try:
        target = parse_request_target(path)
    except BffError as error:
        raise UnsafeReturnToError(internal_reason=error.code) from None
    if "encoded_slash" in target.oddities:
        raise UnsafeReturnToError
