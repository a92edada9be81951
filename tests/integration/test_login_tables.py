"""What the real provider cannot be made to say: odd key sets, and a nonce dance (RFC 9449 §8) with a wrong step.

Each row is one thing wrong: the login is refused before anything else is asked with what was received.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from tests.integration.memory_world import World, world
from tests.integration.refused_logins import assert_refused, every_refusal_is_on_the_trail
from tests.support.fake_idp import KEY
from tests.unit.observability.conftest import captured

__all__ = ["captured", "every_refusal_is_on_the_trail", "world"]

GOOD_KEY = KEY.as_dict(private=False)
OTHER_KEY = ECKey.generate_key("P-256", {"kid": "k1", "alg": "ES256", "use": "sig"}).as_dict(private=False)


def build_keys(**changes: Any) -> tuple[int, str]:
    return 200, json.dumps({"keys": [{**GOOD_KEY, **changes}]})


JWKS_FAULTS: dict[str, tuple[tuple[int, str], str]] = {
    "500": ((500, ""), "idp_unavailable"),
    "404": ((404, ""), "idp_unavailable"),
    "302": ((302, ""), "idp_unavailable"),
    "a-page": ((200, "<html>"), "idp_unavailable"),
    "nothing": ((200, ""), "idp_unavailable"),
    "a-list": ((200, json.dumps([GOOD_KEY])), "idp_unavailable"),
    "keys-missing": ((200, "{}"), "idp_unavailable"),
    "keys-text": ((200, json.dumps({"keys": "k1"})), "idp_unavailable"),
    "two-megabytes": ((200, json.dumps({"keys": [GOOD_KEY], "x": "x" * 2_000_000})), "idp_unavailable"),
    "no-keys": ((200, json.dumps({"keys": []})), "login_failed"),
    "only-oddities": ((200, json.dumps({"keys": [None, 7, "k1", []]})), "login_failed"),
    "another-key-under-the-same-kid": ((200, json.dumps({"keys": [OTHER_KEY]})), "login_failed"),
    "another-kid": (build_keys(kid="k2"), "login_failed"),
    "kid-number": (build_keys(kid=1), "login_failed"),
    "for-encryption": (build_keys(use="enc"), "login_failed"),
    "for-another-operation": (build_keys(key_ops=["encrypt"]), "login_failed"),
    "for-another-algorithm": (build_keys(alg="ES384"), "login_failed"),
    "another-curve": (build_keys(crv="P-384"), "login_failed"),
    "a-shared-secret": (build_keys(kty="oct", k="c2VjcmV0"), "login_failed"),
    "not-on-the-curve": (build_keys(x=GOOD_KEY["y"]), "login_failed"),
    "coordinates-missing": (build_keys(x=None, y=None), "login_failed"),
    "another-type": (
        (200, json.dumps({"keys": [{**RSAKey.generate_key(2048).as_dict(private=False), "kid": "k1"}]})),
        "login_failed",
    ),
}


@pytest.mark.parametrize("fault", JWKS_FAULTS)
def test_keys_with_one_fault_make_no_session(world: World, fault: str) -> None:
    world.idp.jwks, code = JWKS_FAULTS[fault]
    browser = world.open_new_browser()
    assert_refused(browser, world.come_back(browser), code, 503 if code == "idp_unavailable" else 400)
    assert len(world.idp.forms) == 1, "the code, and nothing with what came for it"


CHALLENGE = json.dumps({"error": "use_dpop_nonce"})
NONCE = {"DPoP-Nonce": "n-1"}

NONCE_FAULTS: dict[str, tuple[list[tuple[int, dict[str, str], str]], int, str]] = {
    "no-nonce": ([(400, {}, CHALLENGE)], 1, "login_failed"),
    "empty-nonce": ([(400, {"DPoP-Nonce": ""}, CHALLENGE)], 1, "login_failed"),
    "two-nonces": ([(400, {"DPoP-Nonce": "a, b"}, CHALLENGE)], 1, "login_failed"),
    "nonce-with-space": ([(400, {"DPoP-Nonce": "n 1"}, CHALLENGE)], 1, "login_failed"),
    "nonce-without-end": ([(400, {"DPoP-Nonce": "n" * 10_240}, CHALLENGE)], 1, "login_failed"),
    "another-error": ([(400, NONCE, json.dumps({"error": "invalid_dpop_proof"}))], 1, "login_failed"),
    "no-error": ([(400, NONCE, "")], 1, "login_failed"),
    "in-a-success": ([(200, NONCE, CHALLENGE)], 1, "login_failed"),
    "in-a-failure": ([(503, NONCE, CHALLENGE)], 1, "idp_unavailable"),
    "endless": ([(400, NONCE, CHALLENGE)] * 3, 2, "login_failed"),
    "another-nonce-each-time": ([(400, {"DPoP-Nonce": f"n-{n}"}, CHALLENGE) for n in range(3)], 2, "login_failed"),
    "then-the-code-is-spent": ([(400, NONCE, CHALLENGE), (400, {}, '{"error": "invalid_grant"}')], 2, "login_failed"),
    "then-a-failure": ([(400, NONCE, CHALLENGE), (502, {}, "")], 2, "idp_unavailable"),
}


@pytest.mark.parametrize("fault", NONCE_FAULTS)
def test_a_nonce_dance_with_one_wrong_step_makes_no_session(world: World, fault: str) -> None:
    answers, calls, code = NONCE_FAULTS[fault]
    browser = world.open_new_browser(dpop=True)
    world.idp.token_answers = list(answers)
    assert_refused(browser, world.come_back(browser), code, 503 if code == "idp_unavailable" else 400)
    assert len(world.idp.forms) == calls
    world.idp.token_answers = []
    assert world.come_back(browser).status_code in (200, 303), "the next login is not spoiled"


def test_a_nonce_dance_that_ends_in_a_token_that_is_not_bound_makes_no_session(world: World) -> None:
    browser = world.open_new_browser(dpop=True)
    world.idp.token_answers = [(400, NONCE, CHALLENGE)]
    world.idp.binds_tokens = False
    assert_refused(browser, world.come_back(browser), "login_failed")
    assert len(world.idp.forms) == 2


def test_a_nonce_dance_without_a_wrong_step_ends_in_a_session(world: World) -> None:
    browser = world.open_new_browser(dpop=True)
    world.idp.token_answers = [(400, NONCE, CHALLENGE)]
    assert world.come_back(browser).status_code in (200, 303)
    assert len(world.idp.forms) == 2
    assert browser.is_logged_in()
