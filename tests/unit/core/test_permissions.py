"""The question to the decision point: what is in it, and what makes two of them the same."""

from __future__ import annotations

import json

import pytest

from app.core.identity import Identity
from app.core.permissions import (
    CallFacts,
    Permission,
    Question,
    QuestionPolicy,
    Resource,
    build_decision_key,
    build_question,
    encode_question,
)
from tests.support.identities import change_identity

ALICE = Identity("alice", "sub-of-alice", "op", "reference", {"roles": ["editor"], "email": "alice@example.com"})
READ_FORM = Permission("read", Resource("form", "42", {"kind": "public"}))
FACTS = CallFacts(acr="2", client_address="192.0.2.7", route_id="forms", time="2023-11-14T22:13:20Z")


def build(
    policy: QuestionPolicy | None = None,
    identity: Identity = ALICE,
    permission: Permission = READ_FORM,
    facts: CallFacts = FACTS,
) -> Question:
    return build_question(policy or QuestionPolicy(), identity, permission, facts)


def test_a_question_holds_nothing_that_the_configuration_did_not_name() -> None:
    assert json.loads(encode_question(build())) == {
        "subject": {"type": "user", "id": "alice"},
        "action": {"name": "read"},
        "resource": {"type": "form", "id": "42", "properties": {"kind": "public"}},
    }


def test_a_question_holds_the_claims_and_facts_that_were_named_and_that_there_are() -> None:
    policy = QuestionPolicy("person", ("roles", "department"), ("acr", "client_address", "route_id", "time"))
    asked = json.loads(encode_question(build(policy)))
    assert asked["subject"] == {"type": "person", "id": "alice", "properties": {"roles": ["editor"]}}
    assert asked["context"] == {
        "acr": "2",
        "client_address": "192.0.2.7",
        "route_id": "forms",
        "time": "2023-11-14T22:13:20Z",
    }
    assert "acr" not in json.loads(encode_question(build(policy, facts=CallFacts(route_id="forms"))))["context"]


def test_d2_the_same_id_from_two_issuers_is_two_questions_where_the_provider_is_told() -> None:
    told = QuestionPolicy(context_facts=("provider",))
    ours, theirs = build(told), build(told, identity=change_identity(ALICE, provider="partners"))
    assert json.loads(encode_question(theirs))["context"] == {"provider": "partners"}
    assert build_decision_key(encode_question(ours)) != build_decision_key(encode_question(theirs))


@pytest.mark.parametrize(
    ("context_facts", "is_cacheable"), [((), True), (("acr", "route_id"), True), (("acr", "time"), False)]
)
def test_only_a_question_that_holds_the_time_is_never_the_same(
    context_facts: tuple[str, ...], is_cacheable: bool
) -> None:
    assert build(QuestionPolicy(context_facts=context_facts)).is_cacheable is is_cacheable


def key(question: Question) -> bytes:
    return build_decision_key(encode_question(question))


def test_equal_questions_have_one_key_in_whatever_order_they_were_put_together() -> None:
    one = Permission("read", Resource("form", "42", {"a": 1, "b": {"x": 1, "y": 2}}))
    same = Permission("read", Resource("form", "42", {"b": {"y": 2, "x": 1}, "a": 1}))
    assert key(build(permission=one)) == key(build(permission=same))


POLICY = QuestionPolicy(subject_claims=("roles",), context_facts=("acr",))
OTHERS = {
    "D2-parts-that-join-alike": (
        POLICY,
        Identity("alice:form", "s", "op", "r", ALICE.claims),
        Permission("read", Resource("42", "", {"kind": "public"})),
        FACTS,
    ),
    "D3-user": (POLICY, Identity("bob", "s", "op", "r", ALICE.claims), READ_FORM, FACTS),
    "D3-claims": (POLICY, Identity("alice", "s", "op", "r", {"roles": []}), READ_FORM, FACTS),
    "D3-action": (POLICY, ALICE, Permission("update", READ_FORM.resource), FACTS),
    "D3-type": (POLICY, ALICE, Permission("read", Resource("page", "42", {"kind": "public"})), FACTS),
    "D3-id": (POLICY, ALICE, Permission("read", Resource("form", "43", {"kind": "public"})), FACTS),
    "D3-properties": (POLICY, ALICE, Permission("read", Resource("form", "42", {"kind": "secret"})), FACTS),
    "D3-property-type": (POLICY, ALICE, Permission("read", Resource("form", "42", {"kind": True})), FACTS),
    "D3-no-properties": (POLICY, ALICE, Permission("read", Resource("form", "42")), FACTS),
    "D3-context": (POLICY, ALICE, READ_FORM, CallFacts(acr="1")),
    "D3-subject-type": (QuestionPolicy("person", ("roles",), ("acr",)), ALICE, READ_FORM, FACTS),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_questions_that_differ_anywhere_have_different_keys(
    other: tuple[QuestionPolicy, Identity, Permission, CallFacts],
) -> None:
    assert key(build_question(*other)) != key(build(POLICY))


def test_what_the_configuration_did_not_name_makes_no_difference() -> None:
    assert key(build(facts=CallFacts(acr="9", client_address="x", time="now"))) == key(build())


def test_true_and_one_are_two_things() -> None:
    keys = {key(build(permission=Permission("read", Resource("f", "1", {"x": x})))) for x in (True, 1, "1", 1.5, None)}
    assert len(keys) == 5
