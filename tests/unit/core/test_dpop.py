"""What servers say about nonces, one thing wrong at a time (RFC 9449 §8 and §9)."""

from __future__ import annotations

import pytest

from app.core.dpop import MAX_NONCE_CHARACTERS, find_nonce, has_nonce_challenge

CHALLENGE = 'DPoP algs="ES256", error="use_dpop_nonce", error_description="a nonce, please"'


@pytest.mark.parametrize(
    "nonce",
    ["x", "eyJ7S_zG.eyJH0-Z.HX4w-7v", "!#$%&'()*+,-./:;<=>?@[]^_`{|}~", "n" * MAX_NONCE_CHARACTERS],
)
def test_a_well_formed_nonce_is_taken_as_it_is(nonce: str) -> None:
    assert find_nonce([nonce]) == nonce


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="none"),
        pytest.param([""], id="empty"),
        pytest.param(["a", "b"], id="two-lines"),
        pytest.param(["a", "a"], id="the-same-twice"),
        pytest.param(["a, b"], id="two-in-one-line"),
        pytest.param(["a b"], id="space"),
        pytest.param(['a"b'], id="quote"),
        pytest.param(["a\\b"], id="backslash"),
        pytest.param(["a\x00b"], id="nul"),
        pytest.param(["a\r\nX: y"], id="line-break"),
        pytest.param(["a\x7f"], id="delete"),
        pytest.param(["ä"], id="not-ascii"),
        pytest.param(["n" * (MAX_NONCE_CHARACTERS + 1)], id="too-long"),
        pytest.param(["n" * 10_240], id="10-kib"),
    ],
)
def test_anything_else_is_no_nonce(values: list[str]) -> None:
    assert find_nonce(values) is None


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([CHALLENGE], id="rfc-example"),
        pytest.param(["dpop ERROR=use_dpop_nonce"], id="token-and-case"),
        pytest.param(['Bearer realm="x", ' + CHALLENGE], id="behind-another-scheme"),
        pytest.param(['Bearer realm="x"', CHALLENGE], id="in-a-second-line"),
        pytest.param(['DPoP realm="", error = "use_dpop_nonce"'], id="behind-an-empty-value"),
        pytest.param(['Negotiate abc==, DPoP error="use_dpop_nonce"'], id="behind-token68"),
    ],
)
def test_a_challenge_is_found_wherever_it_stands(values: list[str]) -> None:
    assert has_nonce_challenge(values)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param([], id="no-line"),
        pytest.param([""], id="empty"),
        pytest.param(["DPoP"], id="scheme-alone"),
        pytest.param(['DPoP error="invalid_token"'], id="another-error"),
        pytest.param(['DPoP error="use_dpop_nonce2"'], id="longer-error"),
        pytest.param(['DPoP error_description="use_dpop_nonce"'], id="another-parameter"),
        pytest.param(['Bearer error="use_dpop_nonce"'], id="another-scheme"),
        pytest.param(['DPoP algs="ES256", Bearer error="use_dpop_nonce"'], id="error-of-the-next-scheme"),
        pytest.param(['Bearer realm="DPoP error=use_dpop_nonce"'], id="within-a-quoted-text"),
        pytest.param(['Bearer realm="a\\", DPoP error=use_dpop_nonce"'], id="behind-an-escaped-quote"),
        pytest.param([CHALLENGE + " " * 5000], id="too-long"),
    ],
)
def test_what_is_no_such_challenge_is_left_alone(values: list[str]) -> None:
    assert not has_nonce_challenge(values)
