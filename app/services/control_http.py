"""HTTP for the control plane: the identity provider, and later the decision point and registration.

Built on `requests`, with everything taken away that lets one exchange touch another: no proxies, `.netrc` or
certificate variables from the environment (`trust_env`), no cookie jar, no redirects (attack row H16), and no
compression, because a few compressed bytes can stand for very many. The size of a body and the total time of an
exchange are bounded. Answers come back whole; the data plane streams and does not use this.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

MAX_BODY_BYTES = 1024 * 1024
CHUNK_BYTES = 64 * 1024
USER_AGENT = "bff-server"

Form = Sequence[tuple[str, str]]


class ControlUnreachableError(Exception):
    """No usable HTTP answer came: refused, cut off, too slow or too big. The text is for operators."""


class ControlNotSentError(ControlUnreachableError):
    """There was not even a connection, so the far side has seen nothing of the request."""


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """An answer as it came. The body may hold tokens, so the repr hides it."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Exchange:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    max_bytes: int
    total_seconds: float

    def __repr__(self) -> str:
        return f"_Exchange({self.method} ***)"

    @property
    def place(self) -> str:
        """Host and port, for operators: nothing else of a URL is fit for a log."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


class ControlHttp:
    """Sends one request and gives back one bounded answer. Safe to share between greenlets and threads."""

    def __init__(
        self,
        *,
        timeout_seconds: float,
        ca_file: str = "",
        is_certificate_checked: bool = True,
        max_connections: int = 16,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._monotonic = monotonic
        self._session = _build_session(ca_file, max_connections)
        if not is_certificate_checked:
            self._session.verify = False

    def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        form: Form | None = None,
        json_body: object = None,
        json_text: bytes | None = None,
        max_bytes: int = MAX_BODY_BYTES,
        total_seconds: float | None = None,
    ) -> ControlAnswer:
        """Returns the answer whatever its status is; raises `ControlUnreachableError` when there is none.

        A body is one of `form`, `json_body`, and `json_text`, which is JSON already and sent as it is.

        `total_seconds` bounds everything from the name look-up to the last byte; the default is the timeout.
        A GET is sent a second time when the connection was lost before an answer; nothing else ever is.
        """
        sent_headers, body = _build_body(dict(headers or {}), form, json_body, json_text)
        limit = self._timeout_seconds if total_seconds is None else min(total_seconds, self._timeout_seconds)
        if limit <= 0:
            raise ControlUnreachableError("no time was left for the exchange")
        exchange = _Exchange(method, url, sent_headers, body, max_bytes, limit)
        return _run_bounded(lambda: self._send(exchange), limit, exchange.place)

    def _send(self, exchange: _Exchange) -> ControlAnswer:
        deadline = self._monotonic() + exchange.total_seconds
        try:
            return self._send_once(exchange, deadline)
        except requests.ConnectionError as error:
            # A kept connection that the far side closed meanwhile shows itself only now (RFC 9110 §9.2.2).
            if exchange.method != "GET" or isinstance(error, requests.Timeout) or self._monotonic() >= deadline:
                raise
        return self._send_once(exchange, deadline)

    def _send_once(self, exchange: _Exchange, deadline: float) -> ControlAnswer:
        remaining = max(deadline - self._monotonic(), 0.001)
        with self._session.request(
            exchange.method,
            exchange.url,
            headers=exchange.headers,
            data=exchange.body,
            timeout=(remaining, remaining),
            allow_redirects=False,
            stream=True,
        ) as response:
            body = self._read_body(response, exchange.max_bytes, deadline)
            return ControlAnswer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)

    def _read_body(self, response: requests.Response, max_bytes: int, deadline: float) -> bytes:
        """`read1` returns with whatever one receive brought, so a far side that drips cannot outlast the deadline."""
        body = bytearray()
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise ControlUnreachableError("the answer is compressed although that was not asked for")
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > max_bytes:
                raise ControlUnreachableError(f"the answer is larger than {max_bytes} bytes")
            if self._monotonic() > deadline:
                raise ControlUnreachableError("the answer took too long")
        return bytes(body)


def _build_session(ca_file: str, max_connections: int) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.verify = ca_file or _find_system_certificates() or True
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update({"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "identity"})
    adapter = HTTPAdapter(pool_connections=8, pool_maxsize=max_connections, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _find_system_certificates() -> str | None:
    """Returns where this system keeps the authorities it trusts, which the operator may have added to."""
    places = ssl.get_default_verify_paths()
    if places.cafile:
        return places.cafile
    return places.capath if places.capath and any(Path(places.capath).iterdir()) else None


def _build_body(
    headers: dict[str, str], form: Form | None, json_body: object, json_text: bytes | None
) -> tuple[dict[str, str], bytes | None]:
    if form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return headers, urlencode(form).encode("ascii")
    if json_body is not None:
        json_text = json.dumps(json_body).encode("utf-8")
    if json_text is not None:
        headers["Content-Type"] = "application/json"
    return headers, json_text


def _run_bounded(send: Callable[[], ControlAnswer], limit_seconds: float, place: str) -> ControlAnswer:
    """Runs `send` beside the caller and stops waiting after `limit_seconds`.

    Socket timeouts bound each wait, not their sum, and a name look-up has none at all. What is abandoned here ends by
    its own timeouts soon after, and nobody sees its result.
    """
    outcome = _Outcome(place)
    threading.Thread(target=outcome.fill, args=(send,), daemon=True, name="control-http").start()
    if not outcome.done.wait(limit_seconds):
        raise ControlUnreachableError(f"the exchange with {place} took too long")
    if outcome.answer is None:
        raise outcome.error or ControlUnreachableError(f"the exchange with {place} failed")
    return outcome.answer


def _was_never_connected(error: Exception) -> bool:
    """requests wraps what urllib3 says, whose `NewConnectionError`, name look-ups included, comes before any byte."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError)


class _Outcome:
    __slots__ = ("answer", "done", "error", "place")

    def __init__(self, place: str) -> None:
        self.place = place
        self.done = threading.Event()
        self.answer: ControlAnswer | None = None
        self.error: ControlUnreachableError | None = None

    def fill(self, send: Callable[[], ControlAnswer]) -> None:
        try:
            self.answer = send()
        except ControlUnreachableError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiting side must hear of it
            # The class alone: the text of such an error can hold the URL, and with it what the URL carries.
            kind = ControlNotSentError if _was_never_connected(error) else ControlUnreachableError
            self.error = kind(f"{type(error).__name__} in the exchange with {self.place}")
        finally:
            self.done.set()
