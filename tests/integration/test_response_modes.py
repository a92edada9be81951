"""The ways a provider may hand the code back: as a form post and as a signed answer (JARM). One thing wrong at a time.

Each deployment takes its answers in one way; in any other they are refused before anything is used up.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from werkzeug.test import TestResponse

from tests.integration.login_world import NAVIGATION, ORIGIN, Browser, World, query_of, world
from tests.integration.refused_logins import assert_refused as assert_refused_login
from tests.integration.refused_logins import every_refusal_is_on_the_trail
from tests.support.opwalk import Form, walk_to_form_post
from tests.support.real_op import RealOp
from tests.unit.observability.captured_lines import CapturedLines
from tests.unit.observability.conftest import captured

__all__ = ["captured", "every_refusal_is_on_the_trail", "world"]

pytestmark = pytest.mark.live

CALLBACK = "/auth/callback"


def assert_refused(browser: Browser, answer: TestResponse, code: str, status: int = 400) -> None:
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (status, code), answer.text
    assert not browser.is_logged_in()
    assert browser.cookie() is None


def post_form(browser: Browser, fields: Any, **options: Any) -> TestResponse:
    """What the provider's page does: a navigation, by POST, from another site."""
    headers = {**NAVIGATION, "Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:9400"}
    options = {"data": fields, "content_type": "application/x-www-form-urlencoded"} | options
    return browser.client.post(CALLBACK, base_url=browser.origin, headers=headers, **options)


def walk_to_form(browser: Browser, return_to: str = "/") -> dict[str, str]:
    """Logs in at the provider; returns the fields of the form that it would post."""
    form = walk_to_form_post(browser.at_provider, browser.start_login(return_to), stop_at=f"{browser.origin}{CALLBACK}")
    assert isinstance(form, Form)
    assert form.method == "post"
    return {name: value for name, value in form.inputs.items() if name}


# form_post


def test_a_login_comes_back_as_a_form(world: World) -> None:
    browser = world.open_browser(oidc={"response_mode": "form_post"})
    fields = walk_to_form(browser, "/forms?x=1")
    answer = post_form(browser, fields)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/forms?x=1")
    assert browser.is_logged_in()
    assert browser.login_cookie_names() == set()


@pytest.mark.parametrize("par", ["off", "required"])
def test_the_provider_is_asked_for_it(world: World, par: str) -> None:
    browser = world.open_browser(oidc={"response_mode": "form_post", "par": par})
    location = browser.start_login()
    assert (query_of(location).get("response_mode") == "form_post") == (par == "off")
    assert post_form(browser, walk_to_form(browser)).status_code == 303


def test_the_login_cookie_comes_along_from_another_site(world: World) -> None:
    browser = world.open_browser(oidc={"response_mode": "form_post"})
    answer = browser.navigate("/auth/login")
    [line] = [line for line in answer.headers.getlist("Set-Cookie") if "bff_login_" in line]
    assert line.endswith("; Secure; HttpOnly; SameSite=None")
    fields = walk_to_form(browser)
    [removal] = [line for line in post_form(browser, fields).headers.getlist("Set-Cookie") if "bff_login_" in line]
    assert "Max-Age=0; Secure; HttpOnly; SameSite=None" in removal


def test_a_page_that_needs_the_strict_cookie_at_once_goes_on_by_itself(world: World) -> None:
    browser = world.open_browser(oidc={"response_mode": "form_post"})
    answer = post_form(browser, walk_to_form(browser, "/api/files/a"))
    assert answer.status_code == 200
    assert "url=/api/files/a" in answer.text


def test_l8_the_session_from_before_ends_though_its_cookie_stayed_behind(world: World) -> None:
    browser = world.open_browser(oidc={"response_mode": "form_post"})
    post_form(browser, walk_to_form(browser))
    old = browser.cookie() or ""
    fields = walk_to_form(browser)
    browser.client.delete_cookie("bff_session", domain="localhost")
    assert post_form(browser, fields).status_code == 303
    thief = Browser(browser.app)
    thief.client.set_cookie("bff_session", old, domain="localhost")
    assert not thief.is_logged_in()


FORM_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "state-missing": ({"state": None}, "login_state_invalid"),
    "state-empty": ({"state": ""}, "login_state_invalid"),
    "state-other": ({"state": "s" * 43}, "login_state_invalid"),
    "state-twice": ({"state": ["STATE", "STATE"]}, "bad_request"),
    "state-odd": ({"state": "\x00" * 43}, "login_state_invalid"),
    "code-missing": ({"code": None}, "login_failed"),
    "code-empty": ({"code": ""}, "login_failed"),
    "code-twice": ({"code": ["a", "b"]}, "bad_request"),
    "code-too-long": ({"code": "c" * 5000}, "login_failed"),
    "L6-iss-other": ({"iss": "https://evil.example"}, "login_failed"),
    "L6-iss-empty": ({"iss": ""}, "login_failed"),
    "L6-iss-missing": ({"iss": None}, "login_failed"),
    "L6-iss-twice": ({"iss": ["ISS", "ISS"]}, "bad_request"),
    "L11-error": ({"error": "access_denied", "code": None}, "login_failed"),
    "error-beside-a-code": ({"error": "access_denied"}, "login_failed"),
    "error-twice": ({"error": ["a", "a"]}, "bad_request"),
    "signed-answer-beside-it": ({"response": "a.b.c"}, "bad_request"),
    "signed-answer-alone": ({"response": "a.b.c", "state": None, "code": None, "iss": None}, "bad_request"),
}


@pytest.fixture(scope="module")
def form_browser(op_process: RealOp, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Browser]:
    """One deployment for the whole table; each row begins a login of its own."""
    shared = World(tmp_path_factory.mktemp("form-post"), op_process)
    return shared, shared.open_browser(oidc={"response_mode": "form_post"})


@pytest.mark.parametrize("fault", FORM_FAULTS)
def test_a_form_with_one_fault_makes_no_session(form_browser: tuple[World, Browser], op: RealOp, fault: str) -> None:
    world, browser = form_browser
    changes, code = FORM_FAULTS[fault]
    good = walk_to_form(browser)
    filled = json.loads(json.dumps(changes).replace("STATE", good["state"]).replace("ISS", op.issuer))
    fields = {name: value for name, value in {**good, **filled}.items() if value is not None}
    calls = world.token_calls()
    assert_refused_login(browser, post_form(browser, urlencode(fields, doseq=True)), code)
    assert world.token_calls() == calls, "what was received was used"


@pytest.mark.parametrize(
    ("options", "code", "status"),
    [
        pytest.param({"content_type": "multipart/form-data"}, "bad_request", 400, id="multipart"),
        pytest.param({"content_type": "text/plain"}, "bad_request", 400, id="text"),
        pytest.param({"content_type": "application/json"}, "bad_request", 400, id="json"),
        pytest.param({"query_string": "state=x"}, "bad_request", 400, id="query-beside-the-form"),
        pytest.param({"pad": "x" * 20_000}, "body_too_large", 413, id="too-large"),
    ],
)
def test_a_post_of_another_shape_uses_nothing_up(
    form_browser: tuple[World, Browser], op: RealOp, options: dict[str, Any], code: str, status: int
) -> None:
    _, browser = form_browser
    fields = walk_to_form(browser)
    pad = {"pad": options.pop("pad")} if "pad" in options else {}
    assert_refused(browser, post_form(browser, {**fields, **pad}, **options), code, status)
    assert post_form(browser, fields).status_code == 303
    browser.log_out()


def test_l1_a_form_posted_in_another_browser_makes_no_session(world: World) -> None:
    browser = world.open_browser(oidc={"response_mode": "form_post"})
    fields = walk_to_form(browser)
    other = Browser(browser.app)
    assert_refused_login(other, post_form(other, fields), "login_state_invalid")
    assert post_form(browser, fields).status_code == 303


def test_l2_a_form_is_good_once(world: World) -> None:
    browser = world.open_browser(oidc={"response_mode": "form_post"})
    fields = walk_to_form(browser)
    cookies = {cookie.key: cookie.value for cookie in (browser.client._cookies or {}).values()}
    assert post_form(browser, fields).status_code == 303
    browser.log_out()
    for name, value in cookies.items():
        browser.client.set_cookie(name, value, domain="localhost")
    assert_refused_login(browser, post_form(browser, fields), "login_state_invalid")


def test_only_the_callback_takes_a_post_from_another_site(world: World) -> None:
    browser = world.open_browser(oidc={"response_mode": "form_post"})
    post_form(browser, walk_to_form(browser))
    token = browser.csrf_token()
    headers = {**NAVIGATION, "Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:9400"}
    for path in ("/auth/logout", "/api/crud/forms", "/api/auth/session/refresh"):
        answer = browser.client.post(path, base_url=ORIGIN, headers=headers, data={"csrf_token": token})
        assert (answer.status_code, answer.headers["X-BFF-Error"]) == (403, "csrf_failed"), path
    assert browser.is_logged_in()


@pytest.mark.parametrize(
    ("mode", "method", "allowed"),
    [
        ("query", "POST", "GET"),
        ("query", "HEAD", "GET"),
        ("query.jwt", "POST", "GET"),
        ("query.jwt", "HEAD", "GET"),
        ("form_post", "GET", "POST"),
        ("form_post", "HEAD", "POST"),
    ],
)
def test_an_answer_by_another_method_is_refused_and_uses_nothing_up(
    world: World, mode: str, method: str, allowed: str
) -> None:
    browser = world.open_browser(oidc={"response_mode": mode})
    fields = walk_to_form(browser) if mode == "form_post" else query_of(browser.walk(browser.start_login()))
    if method == "POST":
        answer = post_form(browser, fields)
    else:
        answer = browser.client.open(CALLBACK, method=method, base_url=ORIGIN, headers=NAVIGATION, query_string=fields)
    assert_refused(browser, answer, "method_not_allowed", 405)
    assert answer.headers["Allow"] == allowed
    assert world.token_calls() == 0
    if mode == "form_post":
        assert post_form(browser, fields).status_code == 303
    else:
        assert browser.navigate(f"{CALLBACK}?{urlencode(fields)}", site="cross-site").status_code == 303
    assert browser.is_logged_in()


def test_a_signed_answer_that_was_not_asked_for_is_refused(world: World) -> None:
    signing = world.open_browser(oidc={"response_mode": "query.jwt"})
    signed = query_of(signing.walk(signing.start_login()))
    plain = World(world.directory / "plain", world.op).open_browser()
    answered = query_of(plain.walk(plain.start_login()))
    for query in (signed, {**answered, **signed}):
        refused = plain.navigate(f"{CALLBACK}?{urlencode(query)}", site="cross-site")
        assert_refused_login(plain, refused, "bad_request")
    assert plain.navigate(f"{CALLBACK}?{urlencode(answered)}", site="cross-site").status_code == 303


# query.jwt


def test_a_login_comes_back_signed(world: World) -> None:
    browser = world.open_browser(oidc={"response_mode": "query.jwt"})
    callback = browser.walk_to_callback(return_to="/forms")
    assert set(query_of(callback)) == {"response"}
    answer = browser.navigate(callback, site="cross-site")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/forms")
    assert browser.is_logged_in()


def test_l11_a_signed_refusal_is_a_refusal(world: World) -> None:
    browser = world.open_browser(oidc={"response_mode": "query.jwt"})
    callback = browser.walk(browser.start_login(), abort_at="login").removeprefix(ORIGIN)
    answer = browser.navigate(callback, site="cross-site")
    assert_refused_login(browser, answer, "login_failed")
    assert "cancelled" in answer.text
    assert browser.login_cookie_names() == set()


JARM_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "iss-other": ({"set": {"iss": "https://evil.example"}}, "login_failed"),
    "iss-missing": ({"drop": ["iss"]}, "login_failed"),
    "iss-list": ({"set": {"iss": ["https://evil.example"]}}, "login_failed"),
    "aud-other": ({"set": {"aud": "somebody-else"}}, "login_failed"),
    "aud-missing": ({"drop": ["aud"]}, "login_failed"),
    "aud-object": ({"set": {"aud": {"bff-basic": True}}}, "login_failed"),
    "exp-past": ({"set": {"exp": 1_500_000_000}}, "login_failed"),
    "exp-missing": ({"drop": ["exp"]}, "login_failed"),
    "exp-text": ({"set": {"exp": "soon"}}, "login_failed"),
    "T7-exp-1e300": ({"set": {"exp": 1e300}}, "login_failed"),
    "T1-hs256-with-public-key": ({"key": "hs-public"}, "login_state_invalid"),
    "T1-alg-none": ({"alg": "none"}, "login_state_invalid"),
    "foreign-key": ({"key": "foreign"}, "login_failed"),
    "flipped-signature": ({"flip": True}, "login_failed"),
    "kid-unknown": ({"header": {"kid": "nobody"}, "key": "foreign"}, "login_failed"),
    "crit": ({"header": {"crit": ["b64"], "b64": True}}, "login_state_invalid"),
    "state-other": ({"set": {"state": "s" * 43}}, "login_state_invalid"),
    "state-missing": ({"drop": ["state"]}, "login_state_invalid"),
    "state-number": ({"set": {"state": 7}}, "login_state_invalid"),
    "code-missing": ({"drop": ["code"]}, "login_failed"),
    "code-number": ({"set": {"code": 7}}, "login_failed"),
    "code-empty": ({"set": {"code": ""}}, "login_failed"),
    "error-beside-a-code": ({"set": {"error": "access_denied"}}, "login_failed"),
    "error-number": ({"set": {"error": 7}}, "login_failed"),
}


@pytest.mark.parametrize("fault", JARM_FAULTS)
def test_a_signed_answer_with_one_fault_makes_no_session(world: World, fault: str) -> None:
    browser = world.open_browser(oidc={"response_mode": "query.jwt"})
    change, code = JARM_FAULTS[fault]
    world.op.mutate(jarm=change)
    callback = browser.walk_to_callback()
    assert_refused_login(browser, browser.navigate(callback, site="cross-site"), code)
    assert world.token_calls() == 0


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_signed_answer_may_be_signed_with_any_allowed_algorithm(world: World, algorithm: str) -> None:
    browser = world.open_browser(oidc={"response_mode": "query.jwt"})
    world.op.mutate(jarm={"alg": algorithm})
    browser.log_in()


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda query, claims: claims, id="not-signed-at-all"),
        pytest.param(lambda query, claims: {**query, "code": claims["code"]}, id="code-beside-it"),
        pytest.param(lambda query, claims: {**query, "state": claims["state"]}, id="state-beside-it"),
        pytest.param(lambda query, claims: {**query, "iss": claims["iss"]}, id="iss-beside-it"),
        pytest.param(lambda query, claims: {**query, "error": "access_denied"}, id="error-beside-it"),
        pytest.param(lambda query, claims: {}, id="nothing"),
        pytest.param(lambda query, claims: [*query.items(), *query.items()], id="twice"),
    ],
)
def test_unsigned_parameters_are_refused_and_use_nothing_up(world: World, build: Any) -> None:
    browser = world.open_browser(oidc={"response_mode": "query.jwt"})
    callback = browser.walk_to_callback()
    query = query_of(callback)
    payload = query["response"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    wanted = {name: value for name, value in claims.items() if name in ("code", "state", "iss")}
    changed = f"{CALLBACK}?{urlencode(build(query, wanted))}"
    assert_refused_login(browser, browser.navigate(changed, site="cross-site"), "bad_request")
    assert browser.navigate(callback, site="cross-site").status_code == 303
    assert browser.is_logged_in()


@pytest.mark.parametrize("response", ["", "a", "a.b", "a.b.c", "a.b.c.d.e", "e30.e30.e30", "é.é.é", "x" * 3000])
def test_what_is_no_signed_answer_is_refused_before_any_key_is_fetched(world: World, response: str) -> None:
    browser = world.open_browser(oidc={"response_mode": "query.jwt"})
    answer = browser.navigate(f"{CALLBACK}?{urlencode({'response': response})}", site="cross-site")
    assert_refused_login(browser, answer, "login_state_invalid")
    assert world.op.events("request") == []


def test_l1_a_signed_answer_in_another_browser_costs_the_provider_nothing(world: World) -> None:
    browser = world.open_browser(oidc={"response_mode": "query.jwt"})
    callback = browser.walk_to_callback()
    world.op.reset()
    other = Browser(browser.app)
    assert_refused_login(other, other.navigate(callback, site="cross-site"), "login_state_invalid")
    assert world.op.events("request") == []
    assert browser.navigate(callback, site="cross-site").status_code == 303


def test_the_answer_of_one_client_is_refused_by_another(tmp_path: Path, op: RealOp) -> None:
    """Mix-up within one provider: same state, same browser, signed by the right keys, made for somebody else."""
    world = World(tmp_path, op)
    browser = world.open_browser(oidc={"response_mode": "query.jwt"})
    op.mutate(jarm={"set": {"aud": op.post_client.client_id}})
    assert_refused_login(browser, browser.navigate(browser.walk_to_callback(), site="cross-site"), "login_failed")


def test_an_id_token_is_no_signed_answer(world: World) -> None:
    browser = world.open_browser(oidc={"response_mode": "query.jwt"})
    browser.log_in()
    [id_token] = world.op.secrets("id_token")
    browser.log_out()
    answer = browser.navigate(f"{CALLBACK}?response={id_token}", site="cross-site")
    assert_refused_login(browser, answer, "login_state_invalid")


def test_the_answers_are_in_no_log(world: World, captured: CapturedLines) -> None:
    browser = world.open_browser(oidc={"response_mode": "query.jwt"})
    callback = browser.walk_to_callback()
    response = query_of(callback)["response"]
    browser.navigate(callback, site="cross-site")
    browser.navigate(callback, site="cross-site")
    assert "login.completed" in captured.text
    assert response not in captured.text
    assert response.split(".")[1] not in captured.text
