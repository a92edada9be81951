"""What a session keeps of the claims about its user."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.errors import LoginFailedError
from app.services.oidc_claims import (
    ClaimSelection,
    merge_userinfo,
    read_names,
    read_text,
    require_user_id,
    select_claims,
    update_claims,
)

SELECTION = ClaimSelection(
    role_sources=("roles", "groups"), permission_sources=("permissions",), kept=("name", "email", "roles", "dept")
)


def test_only_what_the_settings_name_is_kept() -> None:
    claims = {"sub": "a", "name": "Ann", "email": "a@b", "roles": ["x"], "salary": 7, "nonce": "n", "dept": {"id": 1}}
    assert select_claims(claims, SELECTION) == {
        "name": "Ann",
        "email": "a@b",
        "dept": {"id": 1},
        "roles": ["x"],
        "permissions": [],
    }


@pytest.mark.parametrize(
    ("claims", "names"),
    [
        ({"roles": ["a", "b", "a"]}, ["a", "b"]),
        ({"roles": "a b  c"}, ["a", "b", "c"]),
        ({"groups": ["g"]}, ["g"]),
        ({"roles": ["a"], "groups": ["g"]}, ["a"]),
        ({"roles": [1, None, "a", {}]}, ["a"]),
        ({"roles": 7}, []),
        ({"roles": None, "groups": ["g"]}, ["g"]),
        ({"roles": {"admin": True}, "groups": ["g"]}, ["g"]),
        ({"roles": []}, []),
        ({}, []),
    ],
)
def test_names_come_from_the_first_source_that_holds_some_shape_of_them(
    claims: dict[str, Any], names: list[str]
) -> None:
    assert read_names(claims, ("roles", "groups")) == names


def test_a_source_may_be_a_path_or_a_name_that_has_dots() -> None:
    nested = {"realm_access": {"roles": ["deep"]}, "https://example.com/roles": ["url"]}
    assert read_names(nested, ("realm_access.roles",)) == ["deep"]
    assert read_names(nested, ("https://example.com/roles",)) == ["url"]
    assert read_names({"a": "text"}, ("a.b.c",)) == []


def test_claims_that_are_too_large_end_the_login() -> None:
    with pytest.raises(LoginFailedError):
        select_claims({"name": "x" * 40_000}, SELECTION)


KEPT = {"name": "Ann", "email": "a@b", "roles": ["x", "y"], "permissions": ["p"]}


@pytest.mark.parametrize(
    ("said", "changed"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"name": "Ann B."}, {"name": "Ann B."}, id="one"),
        pytest.param({"dept": 7, "salary": 1}, {"dept": 7}, id="one-that-was-not-there"),
        pytest.param({"roles": ["x"]}, {"roles": ["x"]}, id="L27-a-role-is-gone"),
        pytest.param({"roles": []}, {"roles": []}, id="L27-no-roles"),
        pytest.param({"roles": None}, {"roles": []}, id="L27-null"),
        pytest.param({"roles": 7}, {"roles": []}, id="L27-odd"),
        pytest.param({"roles": "x z"}, {"roles": ["x", "z"]}, id="text"),
        pytest.param({"groups": ["g"]}, {"roles": ["g"]}, id="of-another-source"),
        pytest.param({"permissions": []}, {"permissions": []}, id="no-permissions"),
        pytest.param({"groups.of": ["g"]}, {}, id="no-source"),
    ],
)
def test_what_is_said_anew_replaces_what_was_kept_and_the_rest_stays(
    said: dict[str, Any], changed: dict[str, Any]
) -> None:
    assert update_claims(KEPT, said, SELECTION) == {**KEPT, **changed}


def test_claims_that_have_become_too_large_are_refused() -> None:
    with pytest.raises(LoginFailedError):
        update_claims(KEPT, {"name": "x" * 40_000}, SELECTION)


def test_userinfo_adds_to_the_person_and_not_to_the_authentication() -> None:
    merged = merge_userinfo(
        {"sub": "alice", "iss": "i", "sid": "s", "name": "old"},
        {"sub": "alice", "iss": "evil", "sid": "evil", "acr": "evil", "name": "new", "email": "e"},
    )
    assert merged == {"sub": "alice", "iss": "i", "sid": "s", "name": "new", "email": "e"}


@pytest.mark.parametrize("value", ["alice", "alice@example.com", "élise", "a b", "x" * 255])
def test_a_user_id_is_a_short_text(value: str) -> None:
    assert require_user_id({"email": value}, "email") == value


@pytest.mark.parametrize("value", [None, "", 7, ["a"], "x" * 256, "a\r\nb", " a", "a ", "a\x00b"])
def test_a_claim_that_cannot_be_an_id_ends_the_login(value: object) -> None:
    with pytest.raises(LoginFailedError) as caught:
        require_user_id({"email": value}, "email")
    assert "email" in caught.value.internal_reason


@pytest.mark.parametrize(("value", "text"), [("x", "x"), (7, ""), (None, ""), ("x" * 256, ""), (["x"], "")])
def test_a_text_claim_that_is_odd_counts_as_absent(value: object, text: str) -> None:
    assert read_text({"acr": value}, "acr") == text
