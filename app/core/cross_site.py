"""Judges whether a call comes from a page that may make it: fetch metadata, `Origin`, CSRF token, CORS.

A cookie says who the user is, never which page is asking. Every call that answers to the session cookie passes
`check_cross_site`, and every unsafe one `check_csrf_token` as well. The order of judgement:

1. an `Origin` that is neither the origin addressed nor an allowed one is refused (`null` too: sandboxes send it);
2. a navigation passes on routes that may be opened by a link, and nowhere else;
3. `Sec-Fetch-Site: cross-site` is refused, and so is `same-site` (a sibling subdomain) without an allowed `Origin`;
4. an unsafe method needs the token that only a page on an allowed origin can have read.
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Collection

import msgspec

from app.core.errors import CsrfFailedError
from app.core.headers import HeaderView

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_TOKEN_LABEL = b"bff-csrf-token"
_EXPOSED_HEADERS = "X-BFF-Error, X-Correlation-ID, Retry-After, Location, ETag, Content-Disposition"
_PREFLIGHT_MAX_AGE_SECONDS = 600
_HEADER_NAME_LIST = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_QUALITY = re.compile(r"(?i:q)=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_LONGEST_ACCEPT = 2048
"""Browsers send about 150 characters."""
_HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})


class FetchMetadata(msgspec.Struct, frozen=True, gc=False):
    """What a browser says about where a request comes from; no script can set these headers."""

    origin: str | None
    site: str | None
    mode: str | None
    dest: str | None
    accept: str = ""


def build_fetch_metadata(headers: HeaderView) -> FetchMetadata:
    return FetchMetadata(
        origin=headers.get("origin"),
        site=headers.get("sec-fetch-site"),
        mode=headers.get("sec-fetch-mode"),
        dest=headers.get("sec-fetch-dest"),
        accept=", ".join(headers.get_all("accept")),
    )


def is_navigation(method: str, metadata: FetchMetadata) -> bool:
    """Tells whether a browser is about to show the answer as a page: a link, a bookmark, a typed address."""
    if method not in ("GET", "HEAD"):
        return False
    if metadata.mode is None and metadata.dest is None:
        return prefers_html(metadata.accept)
    return metadata.mode == "navigate" and metadata.dest == "document"


def prefers_html(accept: str) -> bool:
    """Tells whether an `Accept` value names HTML and nothing it likes better; JSON liked as well means a script.

    A wildcard names nothing, so `*/*` is not HTML. A malformed quality value counts as 0.
    """
    if len(accept) > _LONGEST_ACCEPT:
        return False
    html = json = other = 0.0
    for media_range in accept.split(","):
        media_type, *parameters = (part.strip(" \t") for part in media_range.split(";"))
        media_type, quality = media_type.lower(), _get_quality(parameters)
        if media_type in _HTML_TYPES:
            html = max(html, quality)
        elif media_type.endswith(("/json", "+json")):
            json = max(json, quality)
        else:
            other = max(other, quality)
    return html > json and html >= other


def _get_quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter[:2].lower() == "q=":
            found = _QUALITY.fullmatch(parameter)
            return float(found[1]) if found else 0.0
    return 1.0


def is_allowed_origin(origin: str, *, own_origin: str, allow_origins: Collection[str]) -> bool:
    """Compares serialised origins exactly; `null` is never allowed, whatever the settings say."""
    return origin != "null" and (origin == own_origin or origin in allow_origins)


def check_cross_site(
    method: str,
    metadata: FetchMetadata,
    *,
    own_origin: str,
    allow_origins: Collection[str],
    allows_navigation: bool = False,
) -> None:
    """Raises `CsrfFailedError` unless a page that may make this call is behind it; the CSRF token comes on top.

    `own_origin` is the origin addressed: `public_url` or the one of `allowed_hosts` that was selected.
    """
    origin = metadata.origin
    if origin is not None and not is_allowed_origin(origin, own_origin=own_origin, allow_origins=allow_origins):
        raise CsrfFailedError("Calls from this origin are not allowed.")
    if is_navigation(method, metadata):
        if allows_navigation:
            return
        raise CsrfFailedError("This address is for scripts; it cannot be opened as a page.")
    if metadata.site in (None, "same-origin", "none"):
        return
    if metadata.site == "same-site" and origin is not None:
        return
    raise CsrfFailedError("Calls from other sites are not allowed.")


def check_websocket_origin(origin: str | None, *, own_origin: str, allow_origins: Collection[str]) -> None:
    """Raises `CsrfFailedError` unless a handshake names an allowed origin: CORS does not guard it, RFC 6455 §10.2."""
    if origin is None or not is_allowed_origin(origin, own_origin=own_origin, allow_origins=allow_origins):
        raise CsrfFailedError("WebSocket connections from this origin are not allowed.")


def needs_csrf_token(method: str) -> bool:
    return method not in _SAFE_METHODS


def build_csrf_token(session_cookie_value: str) -> str:
    """Returns the token that belongs to a session cookie: 43 characters, useless without the cookie it is made from."""
    digest = hmac.digest(session_cookie_value.encode(), _TOKEN_LABEL, "sha256")
    return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def check_csrf_token(method: str, session_cookie_value: str, presented: str | None) -> None:
    """Raises `CsrfFailedError` unless an unsafe call presents its session's token; safe methods need none."""
    if not needs_csrf_token(method):
        return
    if not presented:
        raise CsrfFailedError("The call carries no CSRF token.")
    expected = build_csrf_token(session_cookie_value).encode()
    if not hmac.compare_digest(presented.encode("utf-8", "surrogatepass"), expected):
        raise CsrfFailedError("The CSRF token does not belong to this session.")


def is_preflight(method: str, origin: str | None, requested_method: str | None) -> bool:
    """Tells a CORS preflight from any other OPTIONS call (Fetch standard, CORS-preflight request)."""
    return method == "OPTIONS" and origin is not None and requested_method is not None


def build_preflight_answer_headers(
    origin: str,
    requested_headers: str | None,
    *,
    allowed_methods: Collection[str],
    own_origin: str,
    allow_origins: Collection[str],
) -> list[tuple[str, str]]:
    """Returns the CORS lines of a 204 to a preflight; raises `CsrfFailedError` for an origin that is not allowed."""
    if not is_allowed_origin(origin, own_origin=own_origin, allow_origins=allow_origins):
        raise CsrfFailedError("Calls from this origin are not allowed.")
    lines = [
        ("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Allow-Credentials", "true"),
        ("Access-Control-Allow-Methods", ", ".join(sorted(allowed_methods))),
        ("Access-Control-Max-Age", str(_PREFLIGHT_MAX_AGE_SECONDS)),
    ]
    if requested_headers is not None and _HEADER_NAME_LIST.fullmatch(requested_headers):
        lines.append(("Access-Control-Allow-Headers", requested_headers))
    return lines


def build_cors_headers(origin: str | None, *, own_origin: str, allow_origins: Collection[str]) -> list[tuple[str, str]]:
    """Returns the CORS lines of any other answer, refusals included; [] where no other origin is ever allowed."""
    if not allow_origins:
        return []
    lines = [("Vary", "Origin")]
    if origin is not None and is_allowed_origin(origin, own_origin=own_origin, allow_origins=allow_origins):
        lines += [
            ("Access-Control-Allow-Origin", origin),
            ("Access-Control-Allow-Credentials", "true"),
            ("Access-Control-Expose-Headers", _EXPOSED_HEADERS),
        ]
    return lines
