"""The path that is matched is the path that is asked about and the path that is sent, or the call is refused.

Not for a table of cases but for whatever can be put together from the pieces that have misled others; over both doors,
which share the time.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.asked_gateway import ASKED_ROUTES, AskedGateway
from tests.support.doors import DOORS
from tests.support.fuzzing import FUZZ_SECONDS, LONG, MOMENT, try_for_long

pytestmark = pytest.mark.live

# fmt: off
PIECES = [
    "a", "admin", "secret", "reports", "x", "7", ".", "..", "...", "/", "//", "\\", ";", "%2e", "%2E", ".", "%2f",
    "%2F", "%5c", "%3b", "%23", "%3f", "#", "?", "&", "=", "%25", "%252e", "%252f", "%25%", "%61", "%41", "%7e", "~",
    "%c3%a4", "%C3%A4", "%ff", "%c0%ae", "%00", "%0d%0a", "%20", "%zz", "%", "%2", "\xe4", "\x7f", "\x01", "@", ":",
    ",", "!", "*", "{x}", "|", "\"", "<", "`", "^", "+", "$", "(", "http:", "\t", "/",
]
# fmt: on
GOOD = [
    "a",
    "admin",
    "secret",
    "reports",
    "7",
    "/x",
    "/",
    "-",
    "...",
    "%25",
    "%252e",
    "%23",
    "%3f",
    "%20",
    "%c3%a4",
    "~",
    "@",
    ":",
]
PREFIXES = [route.prefix for route in ASKED_ROUTES]
TARGETS = st.builds(
    lambda prefix, pieces, tail: prefix + "".join(pieces) + tail,
    st.sampled_from([*PREFIXES, *(prefix.rstrip("/") for prefix in PREFIXES), "/", "//", "", "*", "http://localhost/"]),
    st.lists(st.sampled_from(GOOD), max_size=7) | st.lists(st.sampled_from(PIECES), max_size=7),
    st.sampled_from(["", "", "?", "?q=/../x;%2e", "#f"]),
)
BY_RESOURCE = {route.resource: route for route in ASKED_ROUTES}


def check_one_path(gateway: AskedGateway, target: str) -> None:
    answer = gateway.call("GET", target)
    questions, sent = gateway.take_questions(), gateway.take_requests()
    if answer.status != 200:
        assert (answer.status, answer.code) in REFUSALS, (answer.status, answer.code)
        assert (questions, sent) == ([], [])
        return
    [question], [request] = questions, sent
    route = BY_RESOURCE[question["resource"]["type"]]
    path, mark, query = target.partition("?")
    assert (path + "/").startswith(route.prefix)
    assert not any(other.prefix.startswith(route.prefix) and other != route and path.startswith(other.prefix)
                   for other in ASKED_ROUTES)  # the most specific one  # fmt: skip
    tail = path[len(route.prefix) :]
    assert question["resource"]["id"] == (unquote_to_bytes(tail).decode("utf-8") or "*")
    upstream = (route.upstream_prefix + tail) if path.startswith(route.prefix) else route.upstream_prefix.rstrip("/")
    assert request.request_line == f"GET {upstream or '/'}{mark}{query} HTTP/1.1".encode("latin-1")


REFUSALS = {(400, "ambiguous_path"), (400, "bad_request"), (404, "route_not_found")}


@settings(MOMENT, max_examples=MOMENT.max_examples // len(DOORS))
@example("/public/%61dmin/x")
@example("/odd/%73ecret/x")
@example("/public/admin")
@example("/odd/a%2fb;c%7e")
@given(target=TARGETS)
def test_the_path_matched_is_the_path_asked_about_and_the_path_sent(asked_gateway: AskedGateway, target: str) -> None:
    check_one_path(asked_gateway, target)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_the_path_matched_is_the_path_sent_for_long(asked_gateway: AskedGateway) -> None:
    @LONG
    @given(target=TARGETS)
    def prove(target: str) -> None:
        check_one_path(asked_gateway, target)

    assert try_for_long(prove, FUZZ_SECONDS / len(DOORS)) > 0
