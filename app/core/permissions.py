"""Builds the question to the decision point as data (OpenID AuthZEN 1.0 §6): who does what to which resource.

Nothing is in it that the configuration did not name, and what is sent is exactly what decisions are remembered by: a
question is encoded once, and both are made of these bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from app.core.identity import Identity

ANY_ID = "*"
"""The resource id of a call that is about no single resource."""
TIME_FACT = "time"


@dataclass(frozen=True, slots=True)
class QuestionPolicy:
    """What may be told to the decision point (`pdp.yaml`: `subject_type`, `subject_claims`, `context`)."""

    subject_type: str = "user"
    subject_claims: tuple[str, ...] = ()
    context_facts: tuple[str, ...] = ()


class Resource(msgspec.Struct, frozen=True):
    """What a call is about. `id` is `*` where no single one is known."""

    type: str
    id: str = ANY_ID
    properties: Mapping[str, object] = {}


class Permission(msgspec.Struct, frozen=True):
    """An action on a resource: what a call means to the decision point."""

    action: str
    resource: Resource
    action_properties: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What a call can tell besides who and what. Goes into a question only under the names `context` lists."""

    acr: str = ""
    client_address: str = ""
    route_id: str = ""
    time: str = ""
    """RFC 3339."""


class Subject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """AuthZEN 1.0 §5.1."""

    type: str
    id: str
    properties: Mapping[str, object] = {}


class Action(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """AuthZEN 1.0 §5.3."""

    name: str
    properties: Mapping[str, object] = {}


class QuestionResource(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """AuthZEN 1.0 §5.2."""

    type: str
    id: str
    properties: Mapping[str, object] = {}


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One access evaluation request (AuthZEN 1.0 §6.1), ready to be encoded."""

    subject: Subject
    action: Action
    resource: QuestionResource
    context: Mapping[str, object] = {}

    @property
    def is_cacheable(self) -> bool:
        """A question that holds the time is a new one every second."""
        return TIME_FACT not in self.context


def build_question(policy: QuestionPolicy, identity: Identity, permission: Permission, facts: CallFacts) -> Question:
    """Returns the question whether `identity` may do this, now."""
    resource = permission.resource
    return Question(
        subject=build_subject(policy, identity),
        action=Action(name=permission.action, properties=permission.action_properties),
        resource=QuestionResource(type=resource.type, id=resource.id, properties=resource.properties),
        context=build_context(policy, identity, facts) if policy.context_facts else {},
    )


def build_subject(policy: QuestionPolicy, identity: Identity) -> Subject:
    """The user with the claims that the configuration names; one that the user has not is left out."""
    claims = identity.claims
    return Subject(
        type=policy.subject_type,
        id=identity.user_id,
        properties={name: claims[name] for name in policy.subject_claims if name in claims},
    )


def build_context(policy: QuestionPolicy, identity: Identity, facts: CallFacts) -> dict[str, object]:
    """The facts that the configuration names; one that the call has not is left out."""
    return {name: value for name in policy.context_facts if (value := _FACTS[name](identity, facts))}


_FACTS: Mapping[str, Callable[[Identity, CallFacts], str]] = {
    "acr": lambda _, facts: facts.acr,
    "client_address": lambda _, facts: facts.client_address,
    "provider": lambda identity, _: identity.provider,  # who vouches for the subject's id: several may give the same
    "route_id": lambda _, facts: facts.route_id,
    TIME_FACT: lambda _, facts: facts.time,
}

_encoder = msgspec.json.Encoder(order="deterministic")


def encode_question(question: Question) -> bytes:
    """The one JSON spelling of a question: equal questions have equal bytes, different ones different bytes."""
    return _encoder.encode(question)


def encode_properties(properties: Mapping[str, object]) -> bytes:
    """As in a question."""
    return _encoder.encode(properties)


def build_decision_key(encoded: bytes) -> bytes:
    """What a decision is remembered by: the SHA-256 of the very bytes that are sent."""
    return hashlib.sha256(encoded).digest()
