"""What comes to the redirect URI, judged before anything is done with it (attack rows L6 and L11)."""

from __future__ import annotations

import pytest

from app.core.errors import BadRequestError, LoginFailedError, LoginStateInvalidError
from app.services.oidc_callback import CallbackParameters, parse_callback_parameters, require_code
from app.services.oidc_metadata import ProviderMetadata

ISSUER = "https://idp.example.com"
STATE = "s" * 43
SENDS_ISSUER = ProviderMetadata(ISSUER, "a", "t", "j", sends_issuer_in_callback=True)
SENDS_NO_ISSUER = ProviderMetadata(ISSUER, "a", "t", "j")


def parse(**parameters: str) -> CallbackParameters:
    return parse_callback_parameters({"state": STATE, **parameters}.items())


def test_a_good_answer_gives_its_code() -> None:
    assert require_code(parse(code="c", iss=ISSUER), SENDS_ISSUER) == "c"


def test_the_issuer_may_be_absent_where_the_provider_does_not_promise_it() -> None:
    assert require_code(parse(code="c"), SENDS_NO_ISSUER) == "c"


@pytest.mark.parametrize("name", ["state", "code", "iss", "error", "error_description", "response"])
def test_a_parameter_that_is_there_twice_is_refused(name: str) -> None:
    with pytest.raises(BadRequestError):
        parse_callback_parameters([("state", STATE), ("code", "c"), (name, "x"), (name, "x")])


def test_parameters_that_nobody_knows_are_ignored_even_twice() -> None:
    found = parse_callback_parameters([("state", STATE), ("code", "c"), ("utm", "1"), ("utm", "2")])
    assert found.code == "c"


@pytest.mark.parametrize("state", ["", "s" * 42, "s" * 44, "s" * 42 + "/", "../" * 14 + "s", "s" * 42 + "\n", "é" * 43])
def test_a_state_that_cannot_be_ours_is_refused(state: str) -> None:
    with pytest.raises(LoginStateInvalidError):
        parse_callback_parameters([("state", state), ("code", "c")])


def test_a_missing_state_is_refused() -> None:
    with pytest.raises(LoginStateInvalidError):
        parse_callback_parameters([("code", "c")])


@pytest.mark.parametrize(
    ("issuer", "metadata"),
    [
        pytest.param("https://evil.example", SENDS_ISSUER, id="L6-other"),
        pytest.param("https://evil.example", SENDS_NO_ISSUER, id="L6-other-unpromised"),
        pytest.param("", SENDS_ISSUER, id="L6-empty"),
        pytest.param("", SENDS_NO_ISSUER, id="L6-empty-unpromised"),
        pytest.param(ISSUER + "/", SENDS_ISSUER, id="L6-slash"),
        pytest.param(None, SENDS_ISSUER, id="L6-missing-though-promised"),
    ],
)
@pytest.mark.parametrize("answer", [{"code": "c"}, {"error": "access_denied"}], ids=["code", "error"])
def test_an_answer_from_another_issuer_is_refused(
    issuer: str | None, metadata: ProviderMetadata, answer: dict[str, str]
) -> None:
    parameters = parse(**answer, **({} if issuer is None else {"iss": issuer}))
    with pytest.raises(LoginFailedError) as caught:
        require_code(parameters, metadata)
    assert "iss" in caught.value.internal_reason


def test_a_cancelled_login_is_said_in_our_own_words() -> None:
    with pytest.raises(LoginFailedError) as caught:
        require_code(parse(error="access_denied", error_description="<b>pwned</b>", iss=ISSUER), SENDS_ISSUER)
    assert "cancelled" in caught.value.detail
    assert "pwned" not in caught.value.detail + caught.value.internal_reason


@pytest.mark.parametrize("error", ["<script>", "", "a" * 65, "server_error"])
def test_any_other_error_is_refused_without_repeating_it(error: str) -> None:
    with pytest.raises(LoginFailedError) as caught:
        require_code(parse(error=error), SENDS_NO_ISSUER)
    assert caught.value.detail == LoginFailedError.title
    assert "<" not in caught.value.internal_reason


def test_an_error_wins_over_a_code() -> None:
    with pytest.raises(LoginFailedError):
        require_code(parse(error="access_denied", code="c"), SENDS_NO_ISSUER)


@pytest.mark.parametrize("answer", [{}, {"code": ""}, {"code": "c" * 4097}], ids=["none", "empty", "too-long"])
def test_an_answer_without_a_usable_code_is_refused(answer: dict[str, str]) -> None:
    with pytest.raises(LoginFailedError):
        require_code(parse(**answer), SENDS_NO_ISSUER)


def test_the_repr_hides_state_and_code() -> None:
    text = repr(parse(code="secret-code"))
    assert STATE not in text
    assert "secret-code" not in text
