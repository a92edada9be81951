"""What the text in a setting may look like: origins, URLs, paths, names.

Each function returns the value in its one spelling or raises ValueError with the "wanted" half of a fault, which never
repeats the value: it may be a secret that slipped into the wrong key.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from app.core import path_table

_KEY_PREFIX = re.compile(r"[A-Za-z0-9._:/-]{0,64}")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
_HOST_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LITERAL = r"[A-Za-z0-9\-._~!$&'()+,=:@]"
_SEGMENT = re.compile(
    rf"{_LITERAL}+"
)  # RFC 3986 §3.3 without "%", "*" and ";": nothing that is matched has two spellings
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FRAMING_HEADERS = frozenset(
    {"host", "connection", "content-length", "content-type", "transfer-encoding", "te", "trailer"}
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OWN_PARAMETERS = frozenset(
    {
        *("client_id", "client_secret", "client_assertion", "client_assertion_type", "registration"),
        *("redirect_uri", "response_type", "response_mode", "scope", "state", "nonce", "resource", "audience"),
        *("code_challenge", "code_challenge_method", "request", "request_uri", "dpop_jkt"),
    }
)


def parse_header_value(value: str) -> str:
    """A header's value: printable ASCII, or empty."""
    if not re.fullmatch(r"[ -~]*", value):
        raise ValueError("printable ASCII on one line")
    return value.strip()


def parse_host_name(value: str) -> str:
    """A DNS name in lower case, or empty."""
    wanted = "a host name such as app.example.com, without scheme, port or leading dot"
    host = value.lower()
    if host and not (len(host) <= 253 and all(_HOST_LABEL.fullmatch(label) for label in host.split("."))):
        raise ValueError(wanted)
    return host


def _split_url(value: str, wanted: str, schemes: tuple[str, ...] = ("https", "http")) -> SplitResult:
    """Split an absolute URL that has a sound host and port and nothing that could be a credential."""
    if not re.fullmatch(r"[!-~]+", value) or "\\" in value:
        raise ValueError(wanted)
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
        if ":" in host:
            ipaddress.IPv6Address(host)
        elif not parse_host_name(host):
            raise ValueError(wanted)
    except ValueError as error:
        raise ValueError(wanted) from error
    if parts.scheme not in schemes or "@" in parts.netloc or port == 0 or parts.netloc.endswith(":"):
        raise ValueError(wanted)
    return parts


def parse_web_origin(value: str) -> str:
    """An origin (RFC 6454) as browsers write it: lower case, no default port, no trailing slash."""
    wanted = "an origin: https:// or http://, a host, a port if need be, and nothing after it"
    parts = _split_url(value, wanted)
    if parts.path not in ("", "/") or "?" in value or "#" in value:
        raise ValueError(wanted)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def parse_issuer(value: str) -> str:
    """An issuer identifier (OpenID Connect Discovery §2), kept letter by letter: it is compared as a string."""
    wanted = "the issuer's URL, without query, fragment or user name"
    parts = _split_url(value, wanted)
    if "?" in value or "#" in value or "%" in parts.path:
        raise ValueError(wanted)
    return value


def parse_base_url(value: str) -> str:
    """An http(s) URL that may have a path but no query; a trailing slash goes; empty stays empty."""
    if not value:
        return value
    wanted = "a URL: http:// or https://, a host, a path if need be, no user name, no query, no %, no .. in the path"
    parts = _split_url(value, wanted)
    path = parts.path.rstrip("/")
    if "?" in value or "#" in value or (path and not _has_sound_segments(path)):
        raise ValueError(wanted)
    return value.rstrip("/")


def _has_sound_segments(path: str) -> bool:
    segments = path.split("/")[1:]
    return path.startswith("/") and all(_SEGMENT.fullmatch(part) and part not in (".", "..") for part in segments)


def parse_endpoint_path(value: str) -> str:
    if not _has_sound_segments(value):
        raise ValueError("a path that begins with / and has no query")
    return value


def parse_bind_address(value: str) -> str:
    """`host:port` or `[v6]:port`."""
    wanted = "host:port, such as 127.0.0.1:9000"
    host, _, port = value.rpartition(":")
    try:
        if not (port.isdigit() and port.isascii() and int(port) <= 65535):
            raise ValueError(wanted)
        if host.startswith("[") and host.endswith("]"):
            ipaddress.IPv6Address(host[1:-1])
        elif not parse_host_name(host):
            raise ValueError(wanted)
    except ValueError as error:
        raise ValueError(wanted) from error
    return value


def parse_network(value: str) -> str:
    """A network in CIDR notation; the whole internet is nobody's proxy."""
    try:
        network = ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError("a network such as 10.0.0.0/8, with no bits set behind the prefix, or one address") from error
    if network.prefixlen == 0:
        raise ValueError(
            "the networks of your own proxies: with all addresses trusted, anybody may forge X-Forwarded-For"
        )
    return str(network)


def parse_rate(value: str) -> str:
    if value and not re.fullmatch(r"[1-9][0-9]{0,8}/(second|minute|hour|day)", value):
        raise ValueError("a rate such as 30/minute (second, minute, hour, day), or nothing for no limit")
    return value


def parse_claim_name(value: str) -> str:
    if value and not re.fullmatch(r"[!-~]{1,256}", value):
        raise ValueError("a name of visible ASCII characters")
    return value


def parse_scope_value(value: str) -> str:
    if not re.fullmatch(r"[!#-\[\]-~]+", value):
        raise ValueError("one scope a line, without spaces (RFC 6749 §3.3)")
    return value


def parse_acr_value(value: str) -> str:
    """An authentication class that can stand in a list between spaces and in a quoted string (RFC 9470 §3)."""
    if not re.fullmatch(r"[!#-\[\]-~]+", value):
        raise ValueError("one authentication class an item, without spaces and quotes")
    return value


def parse_parameter_name(value: str) -> str:
    """A request parameter that /auth/login may pass on: never one that the BFF itself sets."""
    if not re.fullmatch(r"[A-Za-z0-9_.\-]{1,64}", value) or value.lower() in _OWN_PARAMETERS:
        raise ValueError("a parameter of the authorization request that the BFF does not set itself")
    return value


def parse_cookie_name(value: str) -> str:
    """A cookie name (RFC 6265 §4.1.1); the prefixes with a meaning of their own are not for configuration."""
    if not _TOKEN.fullmatch(value) or value.lower().startswith(("__host-", "__secure-", "__http-")):
        raise ValueError("a cookie name without the prefix __Host-, __Secure- or __Http-")
    return value


def parse_key_prefix(value: str) -> str:
    """What Redis keys begin with. A brace would say which part of a key decides its place in a cluster."""
    if not _KEY_PREFIX.fullmatch(value):
        raise ValueError("at most 64 letters, digits, and the characters . _ : - /")
    return value


def parse_backend_cookie_name(value: str) -> str:
    """The name of a backend's cookie, which may have a prefix."""
    if not _TOKEN.fullmatch(value):
        raise ValueError("a cookie name")
    return value


def parse_header_name(value: str) -> str:
    if not _TOKEN.fullmatch(value) or value.lower() in _FRAMING_HEADERS:
        raise ValueError("a header name, and none that frames or describes the message")
    return value


def parse_method(value: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z-]{0,31}", value) or value in ("TRACE", "CONNECT"):
        raise ValueError("an HTTP method in capitals, such as GET; never TRACE or CONNECT")
    return value


def parse_service_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,63}", value):
        raise ValueError("a name of letters, digits, _, . and -")
    return value


def parse_route_id(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,127}", value):
        raise ValueError("an id of letters, digits, _, . and -")
    return value


def parse_route_path(value: str) -> str:
    """A client path, as the route table takes it apart."""
    try:
        path_table.parse_route_path(value)
    except ValueError as error:
        raise ValueError(f"a path that routes can have: {error}") from error
    return value


def parse_upstream_path(value: str) -> str:
    """The backend's path as a template, in which no value can form a dot segment.

    `{path}` may be empty or hold slashes, so it is always a whole segment.
    """
    if not value:
        return value
    start, *segments = value.split("/")
    if segments and not segments[-1]:
        segments.pop()
    if start or "/" not in value or not all(map(_is_template_segment, segments)):
        raise ValueError(
            "a path such as /forms/{path}: plain characters and {name}s, {path} as a whole segment, no query"
        )
    return value


def _is_template_segment(segment: str) -> bool:
    if _PLACEHOLDER.fullmatch(segment):
        return True
    literal = _PLACEHOLDER.sub("", segment)
    return bool(_SEGMENT.fullmatch(literal)) and bool(literal.strip(".")) and "{path}" not in segment


def find_placeholders(template: str) -> list[str]:
    """The names in `{…}`, in their order."""
    return [match[1] for match in _PLACEHOLDER.finditer(template)]


def is_loopback_host(host: str) -> bool:
    """Whether browsers treat this host as this machine (W3C Secure Contexts §3.1)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
