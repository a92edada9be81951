"""The claims of a signed authorization response; the rest of the table runs against the real provider."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.signed_answer import SignedAnswerError, check_signed_answer_claims

NOW = 1_700_000_000.0
GOOD: dict[str, Any] = {"iss": "https://idp.example.com", "aud": "bff", "exp": NOW + 60, "state": "s", "code": "c"}


def check(**changes: Any) -> None:
    check_signed_answer_claims(
        {**GOOD, **changes}, issuer="https://idp.example.com", client_id="bff", state="s", now=NOW, leeway_seconds=30
    )


@pytest.mark.parametrize("changes", [{}, {"aud": ["other", "bff"]}, {"exp": NOW - 29}, {"unknown": 1}])
def test_a_good_answer_passes(changes: dict[str, Any]) -> None:
    check(**changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://evil.example"}, "iss"),
        ({"iss": "https://idp.example.com/"}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "other"}, "aud"),
        ({"aud": []}, "aud"),
        ({"exp": NOW - 30}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": float("nan")}, "exp"),
        ({"state": "t"}, "state"),
        ({"state": None}, "state"),
    ],
)
def test_one_wrong_claim_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SignedAnswerError, match=reason):
        check(**changes)
