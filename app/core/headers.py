"""Which header lines reach a backend, and which ones reach the browser.

Names are compared normalised: frameworks behind us read `X_User_ID` and `X.User.ID` as `X-User-ID`, so a twin of a name
that we own is that name. What a client sent under one of our names is dropped on every route, and ours are added after
hop-by-hop headers are gone, so that no `Connection: X-User-ID` can take them away again (RFC 9110 §7.6.1).
Framing (`Content-Length` of a request, `Transfer-Encoding`, `Host`) belongs to the upstream client and to the doors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal
from urllib.parse import quote

from app.core.cookies import build_cookie_line, get_set_cookie_name, is_own_cookie_name
from app.core.errors import BadRequestError, InternalError, UpstreamBadResponseError
from app.core.identity import Identity
from app.core.line_ends import could_end_line
from app.core.routes import Route

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLAIN_IDENTIFIER = re.compile(r"[!-$&-~]+")
_VISIBLE_ASCII_BUT_PERCENT = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
_LONGEST_REMEMBERED = 128
_CORRELATION_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings", "expect"}
)
_OURS = frozenset(
    {
        "authorization",
        "dpop",
        "x-correlation-id",
        "traceparent",
        "x-user-id",
        "x-original-user",
        "x-session-id",
        "forwarded",
        "x-real-ip",
        "x-original-url",
        "x-rewrite-url",
        "x-method-override",
        "remote-user",
        "x-remote-user",
        "x-csrf-token",
        "proxy",  # CGI makes HTTP_PROXY of it (httpoxy, CVE-2016-5385)
        "true-client-ip",
        "cf-connecting-ip",
        "x-client-ip",
        "x-cluster-client-ip",
    }
)
_OUR_PREFIXES = ("x-forwarded-", "x-http-method", "x-auth-request-")
_REQUEST_FRAMING = frozenset({"host", "content-length", "cookie"})
"""`Cookie` is not framing, but it too is built anew."""
_NEVER_FROM_BACKEND = _HOP_BY_HOP | frozenset(
    {
        "set-cookie",
        "x-bff-error",
        "dpop-nonce",  # meant for whoever makes the proofs, which is us
        "x-correlation-id",
        "x-content-type-options",
        "clear-site-data",
        "service-worker-allowed",
        "alt-svc",  # this and the next three speak for the whole origin, which one backend is not
        "nel",
        "report-to",
        "reporting-endpoints",
        "date",
        "server",
    }
)
_NOTHING: frozenset[str] = frozenset()
_UNREPEATED = (
    *("authorization", "cookie", "host", "origin", "x-csrf-token"),
    *("x-forwarded-method", "x-forwarded-uri"),
)


class HeaderView:
    """Looks up header lines by name, whatever their case. Built once per request."""

    __slots__ = ("_values", "has_repeated")

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        values: dict[str, list[str]] = {}
        self.has_repeated = False
        """Whether any name came more than once."""
        for name, value in lines:
            lowered = name.lower()
            if lowered in values:
                values[lowered].append(value)
                self.has_repeated = True
            else:
                values[lowered] = [value]
        self._values = values

    def get(self, name: str) -> str | None:
        """Returns the first value, or None."""
        values = self._values.get(name.lower())
        return values[0] if values else None

    def get_all(self, name: str) -> list[str]:
        """Returns the values of all lines in order."""
        return self._values.get(name.lower(), [])

    @property
    def names(self) -> Iterable[str]:
        """Each once, in lower case."""
        return self._values.keys()


def normalise_header_name(name: str) -> str:
    """Returns the name as the most lenient backend reads it."""
    return name.lower().replace("_", "-").replace(".", "-")


def check_unrepeated_headers(headers: HeaderView) -> None:
    """Raises `BadRequestError` when a line that must stand alone came twice: picking one would be guessing."""
    if not headers.has_repeated:
        return
    for name in _UNREPEATED:
        if len(headers.get_all(name)) > 1:
            raise BadRequestError(f"The request has more than one {name} line.")


def parse_connection_tokens(values: Iterable[str]) -> frozenset[str]:
    """Returns the lower-cased names that `Connection` lines declare as meant for the next hop only."""
    return frozenset(token.strip(" \t").lower() for value in values for token in value.split(",")) - {""}


def choose_correlation_id(presented: str | None, make: Callable[[], str]) -> str:
    """Takes over a well-formed id of the client's (at most 128 of `[A-Za-z0-9._-]`), else makes one."""
    return presented if presented is not None and _CORRELATION_ID.fullmatch(presented) else make()


def choose_traceparent(presented: str | None, make: Callable[[], str]) -> str:
    """Takes over a well-formed `traceparent` (W3C Trace Context, version 00), else makes one."""
    return presented if presented is not None and _TRACEPARENT.fullmatch(presented) else make()


def encode_identifier(identifier: str) -> str:
    """Returns a name that came from an identity provider as a header value that cannot be misread.

    Everything but visible ASCII is percent-encoded UTF-8, and so is `%` itself: two users never become one.
    """
    if _PLAIN_IDENTIFIER.fullmatch(identifier):
        return identifier
    return quote(identifier, safe=_VISIBLE_ASCII_BUT_PERCENT, errors="surrogatepass")


_Verdict = Literal[
    "keep",
    "drop",
    "noted",
    "challenge",
    "malformed",
    "connection",
    "cookie",
    "tracestate",
    "set-cookie",
    "location",
    "chunked",
]
_SPECIAL_REQUEST_NAMES: Mapping[str, _Verdict] = {
    "connection": "connection",
    "cookie": "cookie",
    "tracestate": "tracestate",
}
_SPECIAL_ANSWER_NAMES: Mapping[str, _Verdict] = {
    "connection": "connection",
    "cache-control": "noted",
    "content-security-policy": "noted",
    "www-authenticate": "challenge",
    "set-cookie": "set-cookie",
    "location": "location",
    "content-location": "location",
    "transfer-encoding": "chunked",
}


@lru_cache(maxsize=512)
def _judge_request_name(name: str) -> tuple[_Verdict, str]:
    """Returns what to do with a client's line, and its name normalised."""
    lowered, normalised = name.lower(), normalise_header_name(name)
    if not _TOKEN.fullmatch(name):
        return "malformed", normalised
    special = _SPECIAL_REQUEST_NAMES.get(lowered)
    if special is not None:
        return special, normalised
    is_dropped = (
        normalised in _HOP_BY_HOP
        or normalised in _REQUEST_FRAMING
        or normalised in _OURS
        or normalised.startswith(("proxy-", *_OUR_PREFIXES))
    )
    return "drop" if is_dropped else "keep", normalised


def build_client_lines(
    lines: Sequence[tuple[str, str]],
    *,
    request_cookies: frozenset[str],
    keeps_trace: bool,
    session_cookie: str,
    extra_strip: frozenset[str] = frozenset(),
) -> list[tuple[str, str]]:
    """Returns the client's header lines for a backend, without framing and less what is not a client's to say.

    `request_cookies` are those a route lets through; `keeps_trace`: the call goes on under the client's `traceparent`;
    `session_cookie` is the name of our own; `extra_strip` holds `headers.strip`, normalised. Raises
    `BadRequestError` for a line that could split the message.
    """
    if could_end_line("".join([value for _, value in lines])):
        raise BadRequestError("A header line is malformed.")
    kept: list[tuple[str, str]] = []
    tracestate: list[tuple[str, str]] = []
    connection_lines: list[str] = []
    cookie_lines: list[str] = []
    for line in lines:
        verdict, normalised = _judge_request_name(line[0])
        if normalised in extra_strip:
            continue
        if verdict == "keep":
            kept.append(line)
        elif verdict == "malformed":
            raise BadRequestError("A header line is malformed.")
        elif verdict == "connection":
            connection_lines.append(line[1])
        elif verdict == "cookie":
            cookie_lines.append(line[1])
        elif verdict == "tracestate":
            tracestate.append(line)
    if keeps_trace and "traceparent" not in extra_strip:
        # tracestate belongs to the traceparent that it came with (W3C Trace Context §3.3).
        kept += tracestate
    kept = _drop_named(kept, _find_nominated(connection_lines))
    cookie = build_cookie_line(cookie_lines, request_cookies, session_cookie) if request_cookies else None
    if cookie is not None:
        kept.append(("Cookie", cookie))
    return kept


def build_edge_lines(*, forwarded_for: str, proto: str, host: str) -> list[tuple[str, str]]:
    """Returns the header lines that tell a backend where the client called from and to."""
    lines = [("X-Forwarded-For", forwarded_for), ("X-Forwarded-Proto", proto), ("X-Forwarded-Host", host)]
    _check_own(*[value for _, value in lines])
    return lines


def encode_call_lines(*, correlation_id: str, traceparent: str, bearer: str | None) -> bytes:
    """Returns the header lines that are new with each call, as they go on the wire: its ids, and the token for the
    service."""
    _check_own(correlation_id, traceparent, bearer or "")
    text = f"X-Correlation-ID: {correlation_id}\r\ntraceparent: {traceparent}\r\n"
    return _encode_own(text if bearer is None else f"{text}Authorization: Bearer {bearer}\r\n")


def encode_caller_lines(*, prefix: str, identity: Identity | None) -> bytes:
    """Returns the header lines that are the same in each call of a session to a route: what was cut off the client's
    path ("": nothing is said), and who calls."""
    if identity is None:
        return _encode_caller_lines(prefix)
    return _encode_caller_lines(prefix, identity.user_id, identity.original_user, identity.session_reference)


@lru_cache(maxsize=1024)
def _encode_caller_lines(prefix: str, *identity: str) -> bytes:
    lines = [("X-Forwarded-Prefix", prefix)] if prefix else []
    if identity:
        lines += _build_identity_lines(*identity)
    _check_own(*[value for _, value in lines])
    return _encode_own("".join([f"{name}: {value}\r\n" for name, value in lines]))


def _encode_own(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise InternalError(internal_reason="a header value of our own is not latin-1") from None


def _check_own(*values: str) -> None:
    if could_end_line("".join(values)):
        raise InternalError(internal_reason="a header value of our own holds a line break")


def build_identity_lines(identity: Identity) -> list[tuple[str, str]]:
    """Returns the header lines that tell who calls."""
    return _build_identity_lines(identity.user_id, identity.original_user, identity.session_reference)


def _build_identity_lines(user_id: str, original_user: str, session_reference: str) -> list[tuple[str, str]]:
    lines = [("X-User-ID", encode_identifier(user_id)), ("X-Original-User", encode_identifier(original_user))]
    if session_reference:
        lines.append(("X-Session-ID", encode_identifier(session_reference)))
    return lines


def _find_nominated(connection_lines: list[str]) -> frozenset[str]:
    """Returns the names that `Connection` declares as meant for one hop only (RFC 9110 §7.6.1)."""
    if not connection_lines:
        return _NOTHING
    value = ",".join(connection_lines)
    # Only what is short is remembered: what a client makes up must not stay in memory.
    parse = _parse_connection if len(value) <= _LONGEST_REMEMBERED else _parse_connection.__wrapped__
    return parse(value)


def _drop_named(lines: list[tuple[str, str]], names: frozenset[str]) -> list[tuple[str, str]]:
    return [line for line in lines if line[0].lower() not in names] if names else lines


@lru_cache(maxsize=64)
def _parse_connection(value: str) -> frozenset[str]:
    return parse_connection_tokens([value]) - {"close", "keep-alive"}


@lru_cache(maxsize=512)
def _judge_answer_name(name: str) -> _Verdict:
    """Returns what to do with a backend's line."""
    normalised = normalise_header_name(name)
    if not _TOKEN.fullmatch(name):
        return "malformed"
    special = _SPECIAL_ANSWER_NAMES.get(normalised)
    if special is not None:
        return special
    is_dropped = normalised in _NEVER_FROM_BACKEND or normalised.startswith(("access-control-", "proxy-"))
    return "drop" if is_dropped else "keep"


def build_answer_headers(
    lines: Sequence[tuple[str, str]],
    *,
    route: Route,
    correlation_id: str,
    map_location: Callable[[str], str],
    session_cookie: str,
    cors_lines: Sequence[tuple[str, str]] = (),
) -> list[tuple[str, str]]:
    """Returns the header lines for the browser: the backend's less what it may not say, then ours.

    `Content-Length` stays unless the body came chunked; `Date` and `Server` go, because the doors write their own.
    `map_location` gets each `Location` and `Content-Location`; `cors_lines` come from `build_cors_headers`.
    Raises `UpstreamBadResponseError` for a line that could split the message.
    """
    if could_end_line("".join([value for _, value in lines])):
        raise UpstreamBadResponseError(internal_reason="a header line of the answer is malformed")
    kept: list[tuple[str, str]] = []
    connection_lines: list[str] = []
    noted: set[str] = set()
    is_chunked = False
    for line in lines:
        verdict = _judge_answer_name(line[0])
        if verdict == "keep":
            kept.append(line)
        elif verdict == "drop":
            continue
        elif verdict == "noted":
            kept.append(line)
            noted.add(line[0].lower())
        elif verdict == "challenge":
            if route.auth != "session":
                kept.append(line)
        elif verdict == "malformed":
            raise UpstreamBadResponseError(internal_reason="a header line of the answer is malformed")
        elif verdict == "connection":
            connection_lines.append(line[1])
        elif verdict == "chunked":
            is_chunked = True
        elif verdict == "location":
            kept.append((line[0], map_location(line[1])))
        elif verdict == "set-cookie" and _may_set_cookie(line[1], route, session_cookie):
            kept.append(line)
    dropped = _find_nominated(connection_lines)
    if is_chunked:
        # RFC 9112 §6.3: the chunks say how long the body is; a Content-Length beside them is not to be believed.
        dropped |= {"content-length"}
    kept = _drop_named(kept, dropped)
    noted -= dropped
    kept += [("X-Content-Type-Options", "nosniff"), ("X-Correlation-ID", correlation_id)]
    if "cache-control" not in noted:
        kept.append(("Cache-Control", "no-store"))
    if route.navigation and "content-security-policy" not in noted:
        kept.append(("Content-Security-Policy", "sandbox"))
    kept += cors_lines
    return kept


def _may_set_cookie(set_cookie_line: str, route: Route, session_cookie: str) -> bool:
    name = get_set_cookie_name(set_cookie_line)
    # A nameless cookie (`=__Host-x=1`) is shown to servers as `__Host-x=1`.
    return name != "" and name in route.response_cookies and not is_own_cookie_name(name, session_cookie)
