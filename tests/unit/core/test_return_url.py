"""Where a browser may be sent after login or logout, judged by what a WHATWG parser makes of it.

Node's `URL` is such a parser. It runs once for a whole batch; where Node is missing, these tests fail.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.errors import UnsafeReturnToError
from app.core.return_url import MAX_RETURN_TO_CHARACTERS, check_return_to

OWN = "https://app.example.com"
ALLOWED = ("https://b.example.com", "http://localhost:5173")

_PARSE_ALL = """
const { base, locations } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
process.stdout.write(JSON.stringify(locations.map((location) => {
  try { const url = new URL(location, base); return { origin: url.origin, href: url.href, user: url.username }; }
  catch { return null; }
})));
"""


def parse_like_a_browser(locations: Sequence[str]) -> list[dict[str, Any] | None]:
    answer = subprocess.run(
        ["node", "-e", _PARSE_ALL],
        input=json.dumps({"base": f"{OWN}/auth/callback?code=x", "locations": list(locations)}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    parsed: list[dict[str, Any] | None] = json.loads(answer.stdout)
    return parsed


def check(raw: str) -> str:
    return check_return_to(raw, own_origin=OWN, allowed_origins=ALLOWED)


UNSAFE = {
    "R-backslash": "/\\evil",
    "R-backslash-host": "/\\evil.example/x",
    "R-two-backslashes": "\\\\evil.example",
    "R-encoded-backslash": "/%5cevil",
    "R-encoded-backslash-capital": "/%5Cevil",
    "R-encoded-tab": "/%09/evil",
    "R-raw-tab": "/\t/evil.example",
    "R-raw-newline": "/\n/evil.example",
    "R-two-slashes": "//evil",
    "R-two-slashes-host": "//evil.example/x",
    "R-three-slashes": "///evil",
    "R-encoded-slash": "/%2f/evil",
    "R-encoded-slash-capital": "/%2F/evil",
    "R-encoded-slash-first": "/%2fevil.example",
    "R-user-info": "https://good@evil",
    "R-user-info-own": "https://app.example.com@evil.example/",
    "R-user-info-password": "https://app.example.com:x@evil.example/",
    "R-own-user-info": "https://user@app.example.com/",
    "R-lookalike": "https://evil-good.example",
    "R-own-as-prefix": "https://app.example.com.evil.example/",
    "R-own-as-prefix-hyphen": "https://app.example.com-evil.example/",
    "R-own-as-suffix": "https://evil-app.example.com/",
    "R-host-without-scheme": "good.example:1337",
    "R-own-host-without-scheme": "app.example.com/x",
    "R-other-port": "https://app.example.com:1337/",
    "R-other-port-allowed": "http://localhost:51730/",
    "R-other-scheme": "http://app.example.com/",
    "R-javascript": "javascript:alert(1)",
    "R-javascript-host": "javascript://app.example.com/%0aalert(1)",
    "R-data": "data:text/html,x",
    "R-blob": "blob:https://app.example.com/x",
    "R-encoded-crlf": "/%0d%0aSet-Cookie:a=b",
    "R-raw-crlf": "/x\r\nSet-Cookie: a=b",
    "R-ideographic-space": "\u3000//evil.example",
    "R-ideographic-space-within": "/\u3000/evil.example",
    "R-scheme-without-slashes": "http:good",
    "R-own-scheme-without-slashes": "https:app.example.com",
    "R-one-slash": "https:/app.example.com/x",
    "R-backslash-after-scheme": "https:\\\\app.example.com\\x",
    "R-backslash-after-origin": "https://app.example.com\\@evil.example/",
    "R-capital-host": "https://APP.example.com/",
    "R-capital-scheme": "HTTPS://app.example.com/",
    "R-fullwidth": "https://app.example.com\uff0f@evil.example",
    "R-allowed-two-slashes": "https://b.example.com//evil.example",
    "R-allowed-trailing-dot": "https://b.example.com./",
    "R-allowed-encoded-slash": "https://b.example.com/%2f/evil",
    "R-dot-segments": "/app/../..//evil.example",
    "R-encoded-dot-segments": "/%2e%2e//evil.example",
    "R-relative": "app/page",
    "R-relative-dots": "./app",
    "R-empty": "",
    "R-space": " /app",
    "R-space-within": "/app page",
    "R-nul": "/app\0",
    "R-quote": '/app"onload="x',
    "R-angle": "/app<script>",
    "R-quote-in-query": '/app?x="',
    "R-angle-in-fragment": "/app#<b>",
    "R-malformed-escape": "/app%",
    "R-latin1": "/caf\xe9",
    "R-surrogate": "/\ud800",
    "R-query-first": "?return=/x",
    "R-fragment-first": "#x",
    "R-too-long": "/" + "a" * MAX_RETURN_TO_CHARACTERS,
}

SAFE = {
    "root": "/",
    "path": "/app/forms/42",
    "query": "/app?tab=2&q=a%20b",
    "fragment": "/app#section",
    "query-and-fragment": "/app?x=1#/route/of/spa",
    "encoded-slash-in-query": "/app?next=%2Fforms%2F1",
    "url-in-query": "/app?next=https://evil.example//",
    "newline-in-query": "/app?text=a%0Ab",
    "backslash-in-query": "/app?path=a\\b",
    "matrix-parameter": "/app/users;id=5",
    "escaped-letters": "/app/%7Euser",
    "utf8": "/app/caf%C3%A9",
    "at-sign": "/@user",
    "own-origin": OWN,
    "own-origin-path": f"{OWN}/app?x#y",
    "own-origin-query": f"{OWN}?x=//evil.example",
    "own-origin-fragment": f"{OWN}#x",
    "allowed-origin": "https://b.example.com/app",
    "allowed-origin-port": "http://localhost:5173/",
    "longest": "/" + "a" * (MAX_RETURN_TO_CHARACTERS - 1),
}


@pytest.mark.parametrize("raw", UNSAFE.values(), ids=UNSAFE.keys())
def test_an_unsafe_return_address_is_refused(raw: str) -> None:
    with pytest.raises(UnsafeReturnToError):
        check(raw)


@pytest.mark.parametrize("raw", SAFE.values(), ids=SAFE.keys())
def test_a_safe_return_address_is_returned_unchanged(raw: str) -> None:
    assert check(raw) == raw


def test_an_origin_is_allowed_only_where_it_is_listed() -> None:
    with pytest.raises(UnsafeReturnToError):
        check_return_to("https://b.example.com/app", own_origin=OWN, allowed_origins=())


def test_an_origin_that_begins_like_another_hides_nothing() -> None:
    origins = ("http://localhost:517", "http://localhost:5173")
    assert check_return_to("http://localhost:5173/x", own_origin=OWN, allowed_origins=origins)
    with pytest.raises(UnsafeReturnToError):
        check_return_to("http://localhost:51730/x", own_origin=OWN, allowed_origins=origins)


def test_the_refusal_does_not_repeat_the_address() -> None:
    with pytest.raises(UnsafeReturnToError) as caught:
        check("/\\evil.example")
    assert "evil" not in f"{caught.value}{caught.value.detail}{caught.value.internal_reason}"


def test_a_browser_reads_every_safe_address_as_one_on_an_allowed_origin() -> None:
    parsed = parse_like_a_browser([check(raw) for raw in SAFE.values()])
    expected = [next((origin for origin in ALLOWED if raw.startswith(origin)), OWN) for raw in SAFE.values()]
    assert [url and url["origin"] for url in parsed] == expected


def test_the_table_holds_addresses_that_would_lead_a_browser_away() -> None:
    """The parser must be able to see the danger, or the tests above say nothing."""
    parsed = parse_like_a_browser([raw for raw in UNSAFE.values() if raw.isprintable() or "\t" in raw])
    assert len([url for url in parsed if url and url["origin"] not in (OWN, *ALLOWED)]) > 20


_PIECES = st.sampled_from(
    [
        *("/", "\\", "//", ":", "@", ".", "..", ";", "?", "#", "%2f", "%5c", "%2e", "%09", "%0d%0a", "%00", "%", "&"),
        *("\t", "\n", "\r", " ", "\u3000", "\uff0f", "\u2028", "\0", "\xad", "evil.example", "app", "x=1", "5173"),
        *("https:", "http:", "https://", "javascript:", "data:", OWN, *ALLOWED, "app.example.com", "localhost"),
    ]
)
_ADDRESSES = st.one_of(
    st.lists(_PIECES, max_size=8).map("".join), st.text(max_size=30).map(lambda text: "/" + text), st.text(max_size=30)
)


@settings(max_examples=20, deadline=None)
@given(st.lists(_ADDRESSES, min_size=60, max_size=120))
def test_whatever_is_accepted_keeps_a_browser_on_an_allowed_origin(addresses: list[str]) -> None:
    accepted = []
    for raw in addresses:
        try:
            accepted.append(check(raw))
        except UnsafeReturnToError:
            continue
    if not accepted:
        return
    for raw, url in zip(accepted, parse_like_a_browser(accepted), strict=True):
        assert url is not None, raw
        assert url["origin"] in (OWN, *ALLOWED), raw
        assert url["user"] == "", raw
