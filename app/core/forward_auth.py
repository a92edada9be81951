"""ForwardAuth: an edge asks whether a request that is not ours may pass, and says in `X-Forwarded-*` what it is about.

What the edge says is read as strictly as a request of our own: the path it names is the path the decision is about, so
one with a second spelling gets no answer. Whether the edge is one is the caller's to find out, and comes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from app.core.errors import AccessDeniedError, AmbiguousPathError, BadRequestError
from app.core.headers import HeaderView, normalise_header_name
from app.core.path_table import PathTable
from app.core.request_target import RequestTarget, parse_request_target
from app.core.routes import PermissionMapping

_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_HOST = re.compile(r"([a-z0-9.-]{1,253})(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_OTHER_METHOD = ("x-http-method", "x-http-method-override", "x-method-override")
_OTHER_TARGET = ("x-original-url", "x-rewrite-url")
"""What some applications read in place of the request line (P16). Our own backends never see these; here the edge sends
them past us to the application."""
_IDENTITY = ("X-User-ID", "X-Original-User", "X-Session-ID")
_UNTWINNED = frozenset({*_OTHER_METHOD, *_OTHER_TARGET, *map(str.lower, _IDENTITY)})
"""Names with one spelling only: an edge overwrites `X-User-ID` and sends `X.User.ID` on (H2)."""
_HANDSHAKE_SCHEMES = {"ws": "http", "wss": "https"}
"""What an edge may write for a WebSocket handshake; the page behind it has an http origin (RFC 6455 §4.1)."""


@dataclass(frozen=True, slots=True)
class ForwardedRequest:
    """A request to somebody else, as the edge describes it."""

    method: str
    scheme: str
    host: str
    """Lower case, without its port."""
    port: str
    """Empty: the scheme's own."""
    raw_target: str
    target: RequestTarget
    is_websocket: bool
    """By its scheme or by its key: an edge need not send both on."""

    @property
    def origin(self) -> str:
        """As a browser writes it."""
        return f"{self.scheme}://{self.host}" + (f":{self.port}" if self.port else "")

    @property
    def url(self) -> str:
        return self.origin + self.raw_target


@dataclass(frozen=True, slots=True)
class ForwardAuthRule:
    """One entry of `forward_auth`."""

    host: str
    path: str
    authz: Literal["none", "pdp"]
    login_redirect: bool
    authz_map: Mapping[str, PermissionMapping] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its name in the audit trail and towards the decision point; no route's, for it holds a slash."""
        return self.host + self.path


@dataclass(frozen=True, slots=True)
class ForwardAuthMatch:
    """A rule and what its wildcard and named segments caught, raw (still percent-encoded)."""

    rule: ForwardAuthRule
    params: Mapping[str, str]


class ForwardAuthTable:
    """Finds the one rule for a host and a path; no rule means no."""

    def __init__(self, rules: Iterable[ForwardAuthRule] = ()) -> None:
        """The paths of one host must not tie. Raises ValueError for a malformed path."""
        self.rules = tuple(rules)
        by_host: dict[str, list[ForwardAuthRule]] = {}
        for rule in self.rules:
            by_host.setdefault(rule.host, []).append(rule)
        self._tables: Mapping[str, PathTable[ForwardAuthRule]] = {
            host: PathTable((rule.path, rule) for rule in found) for host, found in by_host.items()
        }

    def find(self, host: str, path: str) -> ForwardAuthMatch | None:
        """Returns the most specific rule for a raw path on a host (lower case, without port)."""
        table = self._tables.get(host)
        found = table.find(path) if table is not None else None
        return ForwardAuthMatch(*found) if found is not None else None


def parse_forwarded_request(headers: HeaderView, *, default_scheme: str) -> ForwardedRequest:
    """Reads the lines of a trusted edge.

    Raises `AccessDeniedError` when one is missing or malformed, `AmbiguousPathError` for a path with a second reading,
    and `BadRequestError` when the client names another method or address beside it, or has a twin of
    such a name or of an identity header.
    """
    method = _require_line(headers, "x-forwarded-method", _METHOD)[0]
    raw_target = _get_single(headers, "x-forwarded-uri")
    told_scheme = _get_single(headers, "x-forwarded-proto") or default_scheme
    scheme = _HANDSHAKE_SCHEMES.get(told_scheme, told_scheme)
    if scheme not in _DEFAULT_PORTS or not raw_target.startswith("/"):
        raise _refuse_edge()
    host, port = _require_line(headers, "x-forwarded-host", _HOST).group(1, 2)
    target = parse_request_target(raw_target)
    if target.oddities:
        raise AmbiguousPathError("The path holds an encoding that is not allowed here.")
    forwarded = ForwardedRequest(
        method=method.upper(),
        scheme=scheme,
        host=host,
        port="" if port in (None, _DEFAULT_PORTS[scheme]) else port,
        raw_target=raw_target,
        target=target,
        is_websocket=told_scheme in _HANDSHAKE_SCHEMES or headers.get("sec-websocket-key") is not None,
    )
    _check_named_once(headers, forwarded)
    return forwarded


def build_no_identity_lines() -> list[tuple[str, str]]:
    """Returns the identity headers without values: an edge that copies them overwrites what the client sent."""
    return [(name, "") for name in _IDENTITY]


def _check_named_once(headers: HeaderView, forwarded: ForwardedRequest) -> None:
    """The application must not do another thing than the one that was asked about, nor for anybody else."""
    if any(name not in _UNTWINNED and normalise_header_name(name) in _UNTWINNED for name in headers.names):
        raise BadRequestError("The request has a header that some readers take for another one.")
    methods = {value.strip().upper() for name in _OTHER_METHOD for value in headers.get_all(name)}
    targets = {value.strip() for name in _OTHER_TARGET for value in headers.get_all(name)}
    if methods - {forwarded.method} or targets - {forwarded.raw_target, forwarded.url}:
        raise BadRequestError("The request names another method or address in its headers.")


def _require_line(headers: HeaderView, name: str, pattern: re.Pattern[str]) -> re.Match[str]:
    value = _get_single(headers, name)
    found = pattern.fullmatch(value.lower() if name == "x-forwarded-host" else value)
    if found is None:
        raise _refuse_edge()
    return found


def _get_single(headers: HeaderView, name: str) -> str:
    values = headers.get_all(name)
    return values[0] if len(values) == 1 else ""


def _refuse_edge() -> AccessDeniedError:
    return AccessDeniedError(
        "Only an edge may ask this.", internal_reason="X-Forwarded-Method, -Host or -Uri is missing or malformed"
    )
