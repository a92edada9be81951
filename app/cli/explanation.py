"""What `bff routes explain` tells of a rehearsed call: one document, printed as JSON or as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from app.cli.output import make_printable
from app.core.identity import Identity
from app.core.path_table import PathTable
from app.core.permissions import TIME_FACT, build_decision_key
from app.core.routes import Route, RouteMatch
from app.gateway.rehearsal import MASK, Rehearsal
from app.services.path_mapper import MappedCall
from app.settings import Configuration

_LABEL_WIDTH = 12


def build_explanation(rehearsal: Rehearsal, configuration: Configuration, *, asked: bool) -> dict[str, Any]:
    """Returns what became of the call. Nothing in it is a secret but what the caller's own header lines hold."""
    call = rehearsal.call
    return {
        "passes": rehearsal.refusal is None,
        "call": {"method": call.request.method, "target": call.request.raw_target},
        "refusal": _build_refusal(rehearsal),
        "answer": _build_own_answer(rehearsal),
        "target": None if call.target is None else {"path": call.target.path, "query": call.target.query},
        "route": None if rehearsal.match is None else _build_route(rehearsal.match),
        "other_candidates": _list_other_candidates(rehearsal, configuration),
        "identity": None if call.identity is None else _build_identity(call.identity),
        "mapping": _build_mapping(rehearsal, configuration),
        "question": _build_question(rehearsal, configuration),
        "decision": _build_decision(rehearsal, asked=asked),
        "backend": _build_backend(rehearsal),
        "limits": None if call.route is None else _build_limits(call.route),
    }


def _build_refusal(rehearsal: Rehearsal) -> dict[str, Any] | None:
    error = rehearsal.refusal
    if error is None:
        return None
    return {
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        **({"reason": error.members["reason"]} if "reason" in error.members else {}),
        **({"login": dict(error.login_parameters)} if error.login_parameters else {}),
        **({"for_operators": error.internal_reason} if error.internal_reason else {}),
    }


def _build_own_answer(rehearsal: Rehearsal) -> dict[str, Any] | None:
    """Of a preflight, which the BFF answers itself; a refusal is told as one."""
    if rehearsal.answer_status is None or rehearsal.refusal is not None:
        return None
    return {"status": rehearsal.answer_status, "by": "the BFF: a CORS preflight"}


def _build_route(match: RouteMatch) -> dict[str, Any]:
    route = match.route
    return {
        "id": route.id,
        "path": route.path,
        "methods": sorted(route.methods),
        "caught": dict(match.params),
        "auth": route.auth,
        "authz": route.authz,
        "service": route.service.name,
    }


def _list_other_candidates(rehearsal: Rehearsal, configuration: Configuration) -> list[dict[str, str]]:
    """Routes whose path fits as well; the table chose the more specific one."""
    target, chosen = rehearsal.call.target, rehearsal.match
    if target is None or chosen is None:
        return []
    return [
        {"id": route.id, "path": route.path, "lost": f"{chosen.route.path} is more specific"}
        for route in configuration.route_table.routes
        if route is not chosen.route and PathTable([(route.path, route)]).find(target.path)
    ]


def _build_identity(identity: Identity) -> dict[str, Any]:
    return {"user_id": identity.user_id, "provider": identity.provider, "claims": dict(identity.claims)}


def _build_mapping(rehearsal: Rehearsal, configuration: Configuration) -> dict[str, Any] | None:
    if rehearsal.match is None or rehearsal.match.route.authz == "none":
        return None
    if not configuration.settings.pdp.enabled:
        return {"source": "none", "why": "pdp.enabled is false: no call is asked about"}
    mapped = rehearsal.mapped
    if mapped is None:
        return {"source": "none", "why": "nothing says what the call means"}
    return _describe_mapping(mapped)


def _describe_mapping(mapped: MappedCall) -> dict[str, Any]:
    return {
        "source": mapped.source.kind,
        "at": mapped.source.path,
        "resource": mapped.mapping.resource_type,
        "action": mapped.mapping.action,
        "reads_body": mapped.needs_body,
    }


def _build_question(rehearsal: Rehearsal, configuration: Configuration) -> dict[str, Any] | None:
    """`text` is what is sent, byte for byte. A decision is remembered under its hash, in one session."""
    if rehearsal.question is None or rehearsal.call.identity is None:
        return None
    text = rehearsal.question.decode("utf-8")
    return {
        "text": text,
        "sha256": build_decision_key(rehearsal.question).hex(),
        "is_remembered": configuration.pdp.cache.enabled and TIME_FACT not in json.loads(text).get("context", {}),
        "remembered_within": list(rehearsal.call.identity.decision_scope),
    }


def _build_decision(rehearsal: Rehearsal, *, asked: bool) -> dict[str, Any] | None:
    if rehearsal.decision is None:
        return {"asked": asked} if rehearsal.question is not None else None
    decision = rehearsal.decision
    return {
        "asked": True,
        "allowed": decision.is_allowed,
        **({"reason": decision.reason} if decision.reason else {}),
        **({"acr_values": list(decision.acr_values)} if decision.acr_values else {}),
    }


def _build_backend(rehearsal: Rehearsal) -> dict[str, Any] | None:
    request, match = rehearsal.backend_request, rehearsal.match
    if request is None or match is None:
        return None
    request_line, *lines = request.head.decode("latin-1").rstrip("\r\n").split("\r\n")
    return {
        "url": request.url,
        "other_base_urls": list(match.route.service.base_urls[1:]),
        "token": match.route.service.token.mode,
        "request_line": request_line,
        "headers": [_tell_header(line) for line in lines],
    }


def _tell_header(line: str) -> list[str]:
    """A proof of possession belongs to one attempt, and this one to a key that is thrown away."""
    name, _, value = line.partition(": ")
    return [name, MASK if name == "DPoP" else value]


def _build_limits(route: Route) -> dict[str, Any]:
    service = route.service
    return {
        "max_body_bytes": route.max_body_bytes,
        "rate_limit": route.rate_limit,
        "max_age_seconds": route.max_age_seconds,
        "acr_values": list(route.acr_values),
        "connect_timeout_seconds": service.connect_timeout_seconds,
        "read_timeout_seconds": None if route.streaming else service.read_timeout_seconds,
        "total_timeout_seconds": service.total_timeout_seconds or None,
        "retry": service.retry,
    }


def print_explanation(console: Console, explanation: Mapping[str, Any]) -> None:
    """One fact a line, its name in front; the question and the header lines stand alone, to be copied."""
    call = explanation["call"]
    _print(console, "call", f"{call['method']} {call['target']}")
    target = explanation["target"]
    if target is not None:
        _print(console, "path", target["path"])
        if target["query"] is not None:
            _print(console, "query", target["query"])
    _print_route(console, explanation)
    if explanation["identity"] is not None:
        identity = explanation["identity"]
        claims = json.dumps(identity["claims"], ensure_ascii=False)
        _print(console, "identity", f"{identity['user_id']} of {identity['provider']}, claims {claims}")
    _print_authorization(console, explanation)
    _print_backend(console, explanation)
    _print_verdict(console, explanation)


def _print_route(console: Console, explanation: Mapping[str, Any]) -> None:
    route = explanation["route"]
    if route is None:
        return
    caught = "".join(f", {{{name}}} is {value!r}" for name, value in route["caught"].items())
    _print(console, "route", f"{route['id']} ({route['path']}){caught}")
    _print(console, "", f"auth {route['auth']}, authz {route['authz']}, service {route['service']}")
    for other in explanation["other_candidates"]:
        _print(console, "", f"not {other['id']} ({other['path']}): {other['lost']}")
    limits = {name: value for name, value in explanation["limits"].items() if value}
    told = ", ".join(
        f"{name} {' '.join(value) if isinstance(value, list) else value}" for name, value in limits.items()
    )
    _print(console, "limits", told)


def _print_authorization(console: Console, explanation: Mapping[str, Any]) -> None:
    mapping, question, decision = explanation["mapping"], explanation["question"], explanation["decision"]
    if mapping is not None:
        told = mapping.get("why") or (
            f"{mapping['action']} on {mapping['resource']}, from {mapping['source']} of {mapping['at']}"
            + (" (reads the body)" if mapping["reads_body"] else "")
        )
        _print(console, "mapping", told)
    if question is not None:
        _print(console, "question", question["text"])
        scope = ", ".join(question["remembered_within"])
        kept = f"under sha256 {question['sha256']} within ({scope})" if question["is_remembered"] else "not at all"
        _print(console, "remembered", kept)
    if decision is not None:
        told = "not asked (--ask asks)"
        if decision["asked"]:
            allowed = decision.get("allowed")
            word = "no decision" if allowed is None else "allowed" if allowed else "denied"
            told = f"{word}: {decision['reason']}" if "reason" in decision else word
        _print(console, "decision", told)


def _print_backend(console: Console, explanation: Mapping[str, Any]) -> None:
    backend = explanation["backend"]
    if backend is None:
        return
    _print(console, "backend", f"{backend['url']}   token: {backend['token']}")
    for url in backend["other_base_urls"]:
        _print(console, "", f"or at {url}")
    _print(console, "sent", backend["request_line"])
    for name, value in backend["headers"]:
        _print(console, "", f"{name}: {value}")


def _print_verdict(console: Console, explanation: Mapping[str, Any]) -> None:
    refusal, answer, decision = explanation["refusal"], explanation["answer"], explanation["decision"]
    if refusal is not None:
        _print(console, "refused", f"{refusal['status']} {refusal['code']}: {refusal['detail']}")
        if "reason" in refusal:
            _print(console, "", f"the decision point says: {refusal['reason']}")
        if "login" in refusal:
            _print(console, "", "a login would have to ask for " + json.dumps(refusal["login"]))
        if "for_operators" in refusal:
            _print(console, "", f"in the log: {refusal['for_operators']}")
    elif answer is not None:
        _print(console, "answered", f"{answer['status']} by {answer['by']}")
    elif decision is not None and not decision["asked"]:
        _print(console, "passes", "if the decision point allows it")
    else:
        _print(console, "passes", "to the backend")


def _print(console: Console, label: str, text: str) -> None:
    console.print(Text.assemble((label.ljust(_LABEL_WIDTH), "bold"), make_printable(text)), soft_wrap=True)
