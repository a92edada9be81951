"""A decision point held to the text of AuthZEN 1.0, for what the real one cannot be made to do: faults, odd answers.

with AuthzenPdp() as pdp:
    pdp.decide = lambda question: question["action"]["name"] == "read"
    ...
    pdp.questions           # every question so far, of batches too, in the order they came
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Question = dict[str, Any]
SEMANTICS = ("execute_all", "deny_on_first_deny", "permit_on_first_permit")
SUBJECT, RESOURCE, ACTION = {"type", "id", "properties"}, {"type", "id", "properties"}, {"name", "properties"}


class MalformedQuestionError(ValueError):
    """The specification says 400."""


@dataclass(slots=True)
class ReceivedRequest:
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: Any


@dataclass
class AuthzenPdp:
    decide: Callable[[Question], bool] = lambda _: True
    explain: Callable[[Question], dict[str, Any] | None] = lambda _: None
    """The `context` of an evaluation."""
    has_metadata: bool = True
    has_batches: bool = True
    missing_status: int = 404
    identifier: str = ""
    """Another one than its own URL in the metadata."""
    answer: tuple[int, str, bytes] | None = None
    """What every evaluation endpoint answers instead: status, content type, body."""
    requests: list[ReceivedRequest] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)
    """Cleared, it holds evaluations back."""

    def __post_init__(self) -> None:
        self.may_answer.set()
        pdp = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                pdp._handle(self, b"")

            def do_POST(self) -> None:
                pdp._handle(self, self.rfile.read(int(self.headers.get("Content-Length", "0"))))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def evaluations(self) -> list[ReceivedRequest]:
        return [request for request in self.requests if request.path.startswith("/access/")]

    def _handle(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        try:
            document = json.loads(body) if body else None
        except ValueError:
            document = None  # which is no question
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.requests.append(ReceivedRequest(handler.path, headers, document))
        status, content_type, content = self._answer(handler.path, document)
        handler.send_response(status)
        handler.send_header("Content-Type", content_type)
        handler.send_header("Content-Length", str(len(content)))
        if "x-request-id" in headers:
            handler.send_header("X-Request-ID", headers["x-request-id"])
        handler.end_headers()
        handler.wfile.write(content)

    def _answer(self, path: str, document: Any) -> tuple[int, str, bytes]:
        if path == "/.well-known/authzen-configuration":
            return _build_json(200, self._build_metadata()) if self.has_metadata else (404, "text/plain", b"")
        self.may_answer.wait(30)
        if self.answer is not None:
            return self.answer
        try:
            if path == "/access/v1/evaluation":
                return _build_json(200, self._evaluate(document))
            if path == "/access/v1/evaluations" and self.has_batches:
                return _build_json(200, self._evaluate_several(document))
        except MalformedQuestionError as error:
            return 400, "text/plain", str(error).encode()
        return self.missing_status, "text/plain", b"not here"

    def _build_metadata(self) -> dict[str, Any]:
        return {
            "policy_decision_point": self.identifier or self.url,
            "access_evaluation_endpoint": f"{self.url}/access/v1/evaluation",
            "access_evaluations_endpoint": f"{self.url}/access/v1/evaluations",
        }

    def _evaluate(self, question: Question) -> dict[str, Any]:
        _check_question(question)
        self.questions.append(question)
        evaluation: dict[str, Any] = {"decision": self.decide(question)}
        context = self.explain(question)
        return evaluation if context is None else {**evaluation, "context": context}

    def _evaluate_several(self, document: Any) -> dict[str, Any]:
        """§7.1: what stands at the top is the default of each evaluation, and without any it is a single question."""
        if not isinstance(document, dict) or not isinstance(document.get("evaluations", []), list):
            raise MalformedQuestionError("evaluations is no list")
        defaults: Question = {
            name: document[name] for name in ("subject", "action", "resource", "context") if name in document
        }
        semantic = _find_semantic(document.get("options", {}))
        if not document.get("evaluations"):
            return self._evaluate(defaults)
        evaluations = []
        for each in document["evaluations"]:
            evaluations.append(self._evaluate_one_of_several(defaults, each))
            is_allowed = evaluations[-1]["decision"]
            if semantic == ("permit_on_first_permit" if is_allowed else "deny_on_first_deny"):
                break
        return {"evaluations": evaluations}

    def _evaluate_one_of_several(self, defaults: Question, each: Any) -> dict[str, Any]:
        """§7.2.1: what is wrong with one of them is said in its own context, and is no permission."""
        try:
            if not isinstance(each, dict):
                raise MalformedQuestionError("an evaluation is no object")
            return self._evaluate({**defaults, **each})
        except MalformedQuestionError as error:
            return {"decision": False, "context": {"error": {"status": 400, "message": str(error)}}}


def _find_semantic(options: Any) -> str:
    """§7.1.2.1."""
    if not isinstance(options, dict):
        raise MalformedQuestionError("options is no object")
    semantic = options.get("evaluations_semantic", "execute_all")
    if semantic not in SEMANTICS:
        raise MalformedQuestionError(f"evaluations_semantic is none of {SEMANTICS}")
    return str(semantic)


def _check_question(question: Any) -> None:
    """§5: which members there are, and of which type."""
    if not isinstance(question, dict) or set(question) - {"subject", "action", "resource", "context"}:
        raise MalformedQuestionError("not an object of subject, action, resource and context")
    _check_entity(question.get("subject"), SUBJECT, {"type", "id"})
    _check_entity(question.get("resource"), RESOURCE, {"type", "id"})
    _check_entity(question.get("action"), ACTION, {"name"})
    if not isinstance(question.get("context", {}), dict):
        raise MalformedQuestionError("context is no object")


def _check_entity(entity: Any, known: set[str], required: set[str]) -> None:
    if not isinstance(entity, dict) or set(entity) - known:
        raise MalformedQuestionError(f"not {sorted(known)}")
    if any(not isinstance(entity.get(name), str) or not entity[name] for name in required):
        raise MalformedQuestionError(f"{sorted(required)} are required texts")
    if not isinstance(entity.get("properties", {}), dict):
        raise MalformedQuestionError("properties are no object")


def _build_json(status: int, document: Any) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(document).encode()
