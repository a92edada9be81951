"""Rows P of the attack table: the path matched is the path sent, byte for byte, or the call is refused.

Raw bytes go in over a socket; what reached the backend is read off its own socket.
"""

from __future__ import annotations

import pytest

from tests.support.gateway import Gateway

pytestmark = pytest.mark.live

REFUSED = [
    pytest.param("/public/../admin/x", "ambiguous_path", id="P4-dots"),
    pytest.param("/public/%2e%2e/admin/x", "ambiguous_path", id="P4-encoded-dots"),
    pytest.param("/public/.%2e/admin/x", "ambiguous_path", id="P4-half-encoded-dots"),
    pytest.param("/public/..", "ambiguous_path", id="P4-at-the-end"),
    pytest.param("/public/%61dmin/x", "ambiguous_path", id="P5-second-spelling"),
    pytest.param("/api/%63rud/x", "ambiguous_path", id="P5-in-the-prefix"),
    pytest.param("/auth/%6cogin", "ambiguous_path", id="P5-own-endpoint"),
    pytest.param("/public%2f..%2fadmin", "ambiguous_path", id="P6-lower"),
    pytest.param("/public/a%2Fb", "ambiguous_path", id="P6-upper"),
    pytest.param("//admin", "ambiguous_path", id="P8-at-the-start"),
    pytest.param("/api//crud/x", "ambiguous_path", id="P8-inside"),
    pytest.param("/public\\..\\admin", "ambiguous_path", id="P9-plain"),
    pytest.param("/public/%5c..%5cadmin", "ambiguous_path", id="P9-encoded"),
    pytest.param("/public;/../admin", "ambiguous_path", id="P10-before-dots"),
    pytest.param("/public/x;a=1", "ambiguous_path", id="P10-plain"),
    pytest.param("/public/x%3ba=1", "ambiguous_path", id="P10-encoded"),
    pytest.param("/public/./x", "ambiguous_path", id="P11-inside"),
    pytest.param("/public/.", "ambiguous_path", id="P11-at-the-end"),
    pytest.param("/API/crud/x", "route_not_found", id="P12-capitals"),
    pytest.param("/public/x%00", "ambiguous_path", id="P13-nul"),
    pytest.param("/public/%0a", "ambiguous_path", id="P13-control"),
    pytest.param("/public/%ff", "ambiguous_path", id="P13-not-utf8"),
    pytest.param("/public/\xe4", "bad_request", id="P13-raw-byte"),
    pytest.param("/public/%zz", "ambiguous_path", id="P13-malformed-escape"),
    pytest.param("/publicx", "route_not_found", id="P14-prefix-boundary"),
    pytest.param("/public../admin", "route_not_found", id="P14-dots-in-a-segment"),
    pytest.param("/nowhere", "route_not_found", id="P15-no-rule"),
    pytest.param("http://evil.example/public/x", "bad_request", id="P18-absolute-form"),
    pytest.param("*", "bad_request", id="P19-asterisk"),
    pytest.param("public/x", "bad_request", id="P19-no-slash"),
    pytest.param("//evil.example/x", "ambiguous_path", id="P20-authority"),
    pytest.param("/api/../../x", "ambiguous_path", id="P21-escape-from-the-base-path"),
    pytest.param("/odd/%73ecret/x", "ambiguous_path", id="opted-in-but-another-route-when-decoded"),
    pytest.param("/odd/secret%2fx", "ambiguous_path", id="opted-in-but-another-route-with-a-slash"),
    pytest.param("/odd/a%2f..%2f..%2fpublic", "ambiguous_path", id="opted-in-but-dots-behind-slashes"),
    pytest.param("/odd/secret;x/y", "ambiguous_path", id="opted-in-but-another-route-without-parameters"),
]

SENT_UNCHANGED = [
    pytest.param("/public/secret%23/bar", "/public/secret%23/bar", id="P1-encoded-fragment"),
    pytest.param("/public/secret%3f/x", "/public/secret%3f/x", id="P2-encoded-question-mark"),
    pytest.param("/public/x?path=/../admin&y=%2e%2e/;z", "/public/x?path=/../admin&y=%2e%2e/;z", id="P3-query-unread"),
    pytest.param("/public/%252e%252e/admin", "/public/%252e%252e/admin", id="P7-decoded-once-only"),
    pytest.param("/public/@evil.example/x", "/public/@evil.example/x", id="P20-authority-in-the-tail"),
    pytest.param("/public/%c3%a4/%C3%A4", "/public/%c3%a4/%C3%A4", id="hex-digits-of-either-case"),
    pytest.param("/public", "/public", id="wildcard-without-its-slash"),
    pytest.param("/public/", "/public/", id="wildcard-with-nothing-behind"),
    pytest.param("/public/x?", "/public/x?", id="empty-query"),
    pytest.param("/api/crud/forms/7?a=b?c#".rstrip("#"), "/v1/forms/7?a=b?c", id="mapped"),
    pytest.param("/api/users/a%40b/notes", "/notes/a%40b", id="named-segment"),
    pytest.param("/api/kept/x%2525", "/api/kept/x%2525", id="preserved"),
    pytest.param("/odd/a%2fb", "/odd/a%2fb", id="opted-in-slash"),
    pytest.param("/odd/a;b=c", "/odd/a;b=c", id="opted-in-semicolon"),
    pytest.param("/odd/%7euser", "/odd/%7euser", id="opted-in-unreserved"),
]

NOT_ALLOWED = [
    pytest.param("TRACE", "/public/x", 405, "method_not_allowed", id="P16-trace"),
    pytest.param("CONNECT", "/public/x", 405, "method_not_allowed", id="P16-connect"),
    pytest.param("PROPFIND", "/public/x", 405, "method_not_allowed", id="P16-unknown"),
    pytest.param("POST", "/api/read", 405, "method_not_allowed", id="P16-not-on-this-route"),
    pytest.param("DELETE", "/auth/login", 405, "method_not_allowed", id="P16-own-endpoint"),
    pytest.param("OPTIONS", "/public/x", 405, "method_not_allowed", id="P16-options-is-a-call"),
    pytest.param("OPTIONS", "*", 400, "bad_request", id="P19-options-asterisk"),
    pytest.param("CONNECT", "evil.example:443", 400, "bad_request", id="P19-authority-form"),
]


@pytest.mark.parametrize(("target", "code"), REFUSED)
def test_an_unsafe_path_is_refused_and_reaches_no_backend(gateway: Gateway, target: str, code: str) -> None:
    answer = gateway.call("GET", target)
    assert (answer.code, answer.status) == (code, 404 if code == "route_not_found" else 400)
    assert gateway.take_requests() == []


@pytest.mark.parametrize(("target", "expected"), SENT_UNCHANGED)
def test_a_good_path_is_sent_byte_for_byte(gateway: Gateway, target: str, expected: str) -> None:
    answer = gateway.call("GET", target)
    assert (answer.status, answer.code) == (200, None)
    [request] = gateway.take_requests()
    assert request.request_line == f"GET {expected} HTTP/1.1".encode("latin-1")


def test_a_call_that_is_known_goes_where_it_went_before(gateway: Gateway) -> None:
    """Request lines that come again are not worked out again, and none is taken for another."""
    expected = {
        ("GET", "/api/crud/forms/7"): b"GET /v1/forms/7 HTTP/1.1",
        ("HEAD", "/api/crud/forms/7"): b"HEAD /v1/forms/7 HTTP/1.1",
        ("GET", "/api/crud/forms/7?a=1"): b"GET /v1/forms/7?a=1 HTTP/1.1",
        ("GET", "/api/crud/forms/7?a=2"): b"GET /v1/forms/7?a=2 HTTP/1.1",
        ("GET", "/api/crud/forms/%25x"): b"GET /v1/forms/%25x HTTP/1.1",
        ("GET", "/api/kept/forms/7"): b"GET /api/kept/forms/7 HTTP/1.1",
    }
    for _ in range(4):
        for (method, target), request_line in expected.items():
            assert gateway.call(method, target).status == 200
            [request] = gateway.take_requests()
            assert request.request_line == request_line
        assert gateway.call("GET", "/api/crud/../admin").code == "ambiguous_path"
        assert gateway.call("DELETE", "/api/read").code == "method_not_allowed"


@pytest.mark.parametrize(("method", "target", "status", "code"), NOT_ALLOWED)
def test_a_method_that_is_not_allowed_reaches_no_backend(
    gateway: Gateway, method: str, target: str, status: int, code: str
) -> None:
    answer = gateway.call(method, target)
    assert (answer.status, answer.code) == (status, code)
    assert (answer.get("Allow") is not None) == (status == 405)
    assert gateway.take_requests() == []


def test_head_follows_get_and_has_no_body(gateway: Gateway) -> None:  # P16
    answer = gateway.call("HEAD", "/api/read")
    assert (answer.status, answer.get("Content-Length"), answer.body) == (200, "2", b"")
    [request] = gateway.take_requests()
    assert request.request_line == b"HEAD /read HTTP/1.1"


def test_a_method_override_header_goes_nowhere(gateway: Gateway) -> None:  # P16
    gateway.call("GET", "/public/x", "X-HTTP-Method-Override: DELETE", "X-Method-Override: DELETE")
    [request] = gateway.take_requests()
    assert b"override" not in request.head.lower()
    assert request.request_line.startswith(b"GET ")


def test_a_script_name_header_does_not_move_the_path(gateway: Gateway) -> None:  # P22
    answer = gateway.call("GET", "/public/admin/x", "Script-Name: /public", "SCRIPT_NAME: /public", is_logged_in=False)
    assert answer.code == "not_authenticated"
    assert gateway.take_requests() == []


def test_an_encoded_line_break_injects_nothing(gateway: Gateway) -> None:  # P25
    answer = gateway.call("GET", "/public/a%0d%0aX-Evil:%201")
    assert answer.code == "ambiguous_path"
    assert answer.get("X-Evil") is None
    answer = gateway.call("GET", "/public/a?x=%0d%0aX-Evil:%201")
    assert answer.get("X-Evil") is None
    [request] = gateway.take_requests()
    assert request.request_line == b"GET /public/a?x=%0d%0aX-Evil:%201 HTTP/1.1"


@pytest.mark.parametrize("agent", ["kube-probe/1.30", "GoogleHC/1.0"])
def test_a_probes_user_agent_is_no_identity(gateway: Gateway, agent: str) -> None:  # P26
    answer = gateway.call("GET", "/api/crud/x", f"User-Agent: {agent}", is_logged_in=False)
    assert answer.code == "not_authenticated"
    assert gateway.take_requests() == []


def test_the_more_specific_route_decides_who_may_call(gateway: Gateway) -> None:  # P17
    assert gateway.call("GET", "/public/admin/x", is_logged_in=False).code == "not_authenticated"
    assert gateway.call("GET", "/public/adminx", is_logged_in=False).status == 200
    assert [request.request_line for request in gateway.take_requests()] == [b"GET /public/adminx HTTP/1.1"]
