"""What a page may ask, how questions are put together from defaults, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.errors import BadRequestError
from app.core.page_questions import (
    LONGEST_ID,
    LONGEST_NAME,
    MOST_PROPERTIES,
    MOST_QUESTIONS,
    parse_page_question,
    parse_page_questions,
)
from app.core.permissions import Permission, Resource

READ: dict[str, Any] = {"action": {"name": "read"}, "resource": {"type": "form", "id": "42"}}


def change(**changes: object) -> dict[str, object]:
    return {**READ, **changes}


def test_a_question_is_an_action_on_a_resource() -> None:
    assert parse_page_question(READ) == Permission("read", Resource("form", "42"))


def test_a_resource_without_an_id_is_all_of_its_type() -> None:
    assert parse_page_question(change(resource={"type": "form"})).resource == Resource("form", "*")


def test_properties_are_told_as_the_page_says_them() -> None:
    properties = {"kind": "public", "tags": ["a", 1, None, True]}
    action = {"name": "read", "properties": {"method": "GET"}}
    permission = parse_page_question(change(action=action, resource={"type": "form", "properties": properties}))
    assert (permission.resource.properties, permission.action_properties) == (properties, {"method": "GET"})


def test_what_a_page_says_about_the_subject_and_the_circumstances_is_not_used() -> None:
    subject = {"type": "user", "id": "mallory", "properties": {"roles": ["admin"]}}
    assert parse_page_question(change(subject=subject, context={"acr": "gold"})) == parse_page_question(READ)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(None, id="null"),
        pytest.param([READ], id="list"),
        pytest.param({"resource": READ["resource"]}, id="no-action"),
        pytest.param({"action": READ["action"]}, id="no-resource"),
        pytest.param(change(action="read"), id="action-text"),
        pytest.param(change(action={"name": ""}), id="action-empty"),
        pytest.param(change(action={"name": ["read"]}), id="action-list"),
        pytest.param(change(action={"name": "x" * (LONGEST_NAME + 1)}), id="action-long"),
        pytest.param(change(action={"name": "read", "scope": "all"}), id="action-unknown-member"),
        pytest.param(change(resource={"id": "42"}), id="no-type"),
        pytest.param(change(resource={"type": "form", "id": ""}), id="id-empty"),
        pytest.param(change(resource={"type": "form", "id": 42}), id="id-number"),
        pytest.param(change(resource={"type": "form", "id": None}), id="id-null"),
        pytest.param(change(resource={"type": "form", "id": "x" * (LONGEST_ID + 1)}), id="id-long"),
        pytest.param(change(resource={"type": "form", "ids": ["1"]}), id="resource-unknown-member"),
        pytest.param(change(resource={"type": "form", "properties": []}), id="properties-list"),
        pytest.param(change(resource={"type": "form", "properties": {"a": {"b": 1}}}), id="properties-nested"),
        pytest.param(change(resource={"type": "form", "properties": {"a": 2**64}}), id="number-too-large"),
        pytest.param(change(resource={"type": "form", "properties": {"": 1}}), id="property-without-name"),
        pytest.param(
            change(resource={"type": "form", "properties": {str(n): 1 for n in range(MOST_PROPERTIES + 1)}}),
            id="properties-many",
        ),
        pytest.param(change(subject="alice"), id="subject-text"),
        pytest.param(change(context=[]), id="context-list"),
        pytest.param(change(evaluations=[]), id="single-with-evaluations"),
        pytest.param(change(user="alice"), id="unknown-member"),
    ],
)
def test_what_is_no_question_is_refused(document: object) -> None:
    with pytest.raises(BadRequestError):
        parse_page_question(document)


def test_what_stands_at_the_top_is_the_default_of_each_question() -> None:
    """AuthZEN 1.0 §7.1.1: a default is replaced as a whole."""
    questions = parse_page_questions(
        {
            "resource": {"type": "form", "id": "42", "properties": {"kind": "public"}},
            "evaluations": [
                {"action": {"name": "read"}},
                {"action": {"name": "read"}, "resource": {"type": "form"}},
                {"action": {"name": "update"}},
            ],
        }
    )
    form = Resource("form", "42", {"kind": "public"})
    expected = (Permission("read", form), Permission("read", Resource("form")), Permission("update", form))
    assert (questions.permissions, questions.are_several) == (expected, True)


@pytest.mark.parametrize("document", [READ, {**READ, "evaluations": []}], ids=["absent", "empty"])
def test_without_evaluations_it_is_a_single_question(document: object) -> None:
    questions = parse_page_questions(document)
    assert (len(questions.permissions), questions.are_several) == (1, False)


@pytest.mark.parametrize(
    ("semantic", "decisions", "count"),
    [
        ("execute_all", [True, False, True, False], 4),
        ("deny_on_first_deny", [True, False, True, False], 2),
        ("deny_on_first_deny", [True, True], 2),
        ("permit_on_first_permit", [False, False, True, True], 3),
        ("permit_on_first_permit", [False, False], 2),
    ],
)
def test_each_semantic_ends_where_the_specification_says(semantic: str, decisions: list[bool], count: int) -> None:
    questions = parse_page_questions({"evaluations": [READ], "options": {"evaluations_semantic": semantic}})
    answers = [str(number) for number in range(len(decisions))]
    assert questions.cut(answers, decisions) == answers[:count]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"evaluations": {}}, id="object"),
        pytest.param({"evaluations": [READ, None]}, id="null-among-them"),
        pytest.param({"evaluations": [READ, {"action": {"name": "read"}}]}, id="one-without-resource"),
        pytest.param({"evaluations": [{**READ, "options": {}}]}, id="options-within"),
        pytest.param({"evaluations": [READ], "options": {"evaluations_semantic": "all"}}, id="semantic"),
        pytest.param({"evaluations": [READ], "options": {"evaluations_semantic": ["execute_all"]}}, id="semantic-list"),
        pytest.param({"evaluations": [READ], "options": "execute_all"}, id="options-text"),
        pytest.param({"evaluations": [READ], "evaluation": READ}, id="unknown-member"),
        pytest.param({"evaluations": [READ] * (MOST_QUESTIONS + 1)}, id="too-many"),
        pytest.param({"evaluations": []}, id="nothing"),
    ],
)
def test_what_are_no_questions_is_refused(document: object) -> None:
    with pytest.raises(BadRequestError):
        parse_page_questions(document)
