"""Names, flags and strict reading of cookies (RFC 6265bis).

Reading never picks: a browser that holds two cookies of one name sends both, in an order that whoever planted the
second one can arrange (cookie tossing). Writing knows which prefix lets the browser itself hold on to which flags.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Literal

from app.core.errors import BadRequestError

SameSite = Literal["Strict", "Lax", "None"]

CSRF_COOKIE_NAME = "bff_csrf"
"""Readable by script on purpose, so it has no prefix that promises HttpOnly."""
LOGIN_COOKIE_BASE = "bff_login_"

_HOST_PREFIX = "__Host-Http-"
"""Begins with `__Host-`, so browsers that know only that prefix still insist on Secure, Path=/ and no Domain."""
_SECURE_PREFIX = "__Secure-"
_ANY_PREFIX = re.compile(r"__(?:Host-Http-|Host-|Http-|Secure-)", re.IGNORECASE)

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]*")
"""cookie-octet: no control, space, quote, comma, semicolon or backslash."""
_ATTRIBUTE_VALUE = re.compile(r"[ -:<-~]*")


def session_cookie_name(base: str, *, https: bool, domain: str) -> str:
    """Returns the session cookie's name for a deployment; `domain` is the setting, "" for a host-only cookie."""
    if not https:
        return base
    return (_SECURE_PREFIX if domain else _HOST_PREFIX) + base


def login_cookie_name(state_hash: str, *, https: bool) -> str:
    """Returns the name of the cookie that binds one login attempt to this browser."""
    return (_HOST_PREFIX if https else "") + LOGIN_COOKIE_BASE + state_hash


def is_own_cookie_name(name: str, session_cookie: str) -> bool:
    """Tells whether a cookie is one of ours, with whatever prefix: those neither go to nor come from a backend."""
    bare = _ANY_PREFIX.sub("", name, count=1)
    return bare in {_ANY_PREFIX.sub("", session_cookie, count=1), CSRF_COOKIE_NAME} or bare.startswith(
        LOGIN_COOKIE_BASE
    )


def find_cookie_values(cookie_lines: Sequence[str], name: str) -> list[str]:
    """Returns every value that stands under exactly this name, as it came (quotes included)."""
    return [value for pair, value in _split_pairs(cookie_lines, name) if pair == name]


def parse_single_session_cookie(cookie_lines: Sequence[str], name: str) -> str | None:
    """Returns the session cookie's value, or None when there is none; "" when it came empty.

    Raises `BadRequestError` on two different values and on more than one `Cookie` line (RFC 6265 §5.4 allows browsers
    one; doors that speak HTTP/2 join the crumbs, RFC 9113 §8.2.3).
    """
    if len(cookie_lines) > 1:
        raise BadRequestError("The request has more than one Cookie line.")
    values = find_cookie_values(cookie_lines, name)
    if len(set(values)) > 1:
        raise BadRequestError("The request has more than one session cookie.")
    return values[0] if values else None


def build_cookie_line(cookie_lines: Sequence[str], allowed_names: Collection[str], session_cookie: str) -> str | None:
    """Returns the `Cookie` line for a backend: the allowed cookies and none of ours; None when nothing is left."""
    kept = [
        f"{name}={value}"
        for name, value in _split_pairs(cookie_lines)
        if name in allowed_names and not is_own_cookie_name(name, session_cookie)
    ]
    return "; ".join(kept) or None


def build_foreign_cookie_line(cookie_lines: Sequence[str], session_cookie: str) -> str:
    """Returns the `Cookie` line without our own cookies; "" when nothing is left."""
    pairs = _split_pairs(cookie_lines)
    return "; ".join(f"{name}={value}" for name, value in pairs if not is_own_cookie_name(name, session_cookie))


def get_set_cookie_name(set_cookie_line: str) -> str:
    """Returns the name a browser would store the cookie under; "" for a nameless cookie (RFC 6265bis §5.6)."""
    pair = set_cookie_line.partition(";")[0]
    name, equals, _ = pair.partition("=")
    return name.strip(" \t") if equals else ""


def _split_pairs(cookie_lines: Sequence[str], wanted: str = "") -> list[tuple[str, str]]:
    pairs = []
    for line in cookie_lines:
        if wanted not in line:
            continue
        for pair in line.split(";"):
            name, equals, value = pair.partition("=")
            if equals:
                pairs.append((name.strip(" \t"), value.strip(" \t")))
    return pairs


def build_set_cookie(
    name: str,
    value: str,
    *,
    secure: bool,
    http_only: bool,
    same_site: SameSite,
    domain: str = "",
    path: str = "/",
    max_age: int | None = None,
) -> str:
    """Returns the value of a `Set-Cookie` line; without `max_age` (seconds) the cookie ends with the browser session.

    Raises ValueError on what would break out of its place, or would make the browser drop the cookie unseen.
    """
    if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
        raise ValueError("not a cookie name and value")
    if not _ATTRIBUTE_VALUE.fullmatch(domain) or not _ATTRIBUTE_VALUE.fullmatch(path):
        raise ValueError("not a cookie domain and path")
    prefix = _ANY_PREFIX.match(name)
    kind = prefix[0].lower() if prefix else ""
    if not secure and (prefix or same_site == "None"):
        raise ValueError("this cookie must be Secure")
    if kind.startswith("__host-") and (domain or path != "/"):
        raise ValueError("this cookie must have no Domain and the Path /")
    if kind.endswith("http-") and not http_only:
        raise ValueError("this cookie must be HttpOnly")
    parts = [f"{name}={value}", f"Path={path}"]
    if domain:
        parts.append(f"Domain={domain}")
    if max_age is not None:
        parts.append(f"Max-Age={max_age}")
    if secure:
        parts.append("Secure")
    if http_only:
        parts.append("HttpOnly")
    parts.append(f"SameSite={same_site}")
    return "; ".join(parts)


def build_delete_cookie(
    name: str, *, secure: bool, http_only: bool, same_site: SameSite, domain: str = "", path: str = "/"
) -> str:
    """Returns a `Set-Cookie` line that removes the cookie; the flags repeat those it was set with.

    Browsers ignore a line for a prefixed name that lacks the prefix's flags, deletions included.
    """
    line = build_set_cookie(
        name, "", secure=secure, http_only=http_only, same_site=same_site, domain=domain, path=path, max_age=0
    )
    return f"{line}; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
