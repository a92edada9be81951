"""A small backend for the demo and the live tests: forms in memory, a live feed, an upload and a download.

It stands behind the BFF, so it knows nothing of cookies, logins or tokens: it takes the caller's identity from the
headers that the BFF sets, and tells at `/whoami` which of them it got. One process keeps all forms, in memory.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import json
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, request
from werkzeug.exceptions import BadRequest, HTTPException, NotFound

CHUNK_BYTES = 1024 * 1024
MOST_FORMS = 1000
MOST_DOWNLOAD_BYTES = 4 * 1024**3
HEARTBEAT_SECONDS = 15
IDENTITY_HEADERS = (
    "X-User-ID",
    "X-Original-User",
    "X-Session-ID",
    "X-Correlation-ID",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Prefix",
    "Traceparent",
    "Cookie",
)


@dataclass(frozen=True, slots=True)
class Form:
    """One form as the API shows it."""

    id: str
    title: str
    kind: str
    owner: str
    changed_at: float


class Feed:
    """Sends every event to everybody who listens; a listener that stops reading loses events, never holds others up."""

    def __init__(self) -> None:
        self._listeners: set[queue.Queue[bytes]] = set()
        self._lock = threading.Lock()

    def publish(self, event: str, **fields: Any) -> None:
        message = _encode_event(event, **fields)
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            try:
                listener.put_nowait(message)
            except queue.Full:
                continue

    def listen(self) -> Iterator[bytes]:
        """Server-sent events without end, the first one at once."""
        listener: queue.Queue[bytes] = queue.Queue(maxsize=256)
        with self._lock:
            self._listeners.add(listener)
        try:
            yield b"retry: 2000\n" + _encode_event("hello")
            while True:
                try:
                    yield listener.get(timeout=HEARTBEAT_SECONDS)
                except queue.Empty:
                    yield b": still here\n\n"
        finally:
            with self._lock:
                self._listeners.discard(listener)


class FormStore:
    """All forms, newest first. An id begins with the owner, so that whoever sees an address knows whose form it is."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._forms: dict[str, Form] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def list_all(self) -> list[Form]:
        with self._lock:
            return sorted(self._forms.values(), key=lambda form: form.changed_at, reverse=True)

    def get(self, form_id: str) -> Form:
        try:
            return self._forms[form_id]
        except KeyError:
            raise NotFound("There is no such form.") from None

    def create(self, title: str, kind: str, owner: str) -> Form:
        with self._lock:
            if len(self._forms) >= MOST_FORMS:
                raise BadRequest(f"The demo keeps at most {MOST_FORMS} forms.")
            form = Form(f"{owner or 'nobody'}-{next(self._numbers)}", title, kind, owner, time.time())
            self._forms[form.id] = form
        self._feed.publish("form.created", form=asdict(form))
        return form

    def change(self, form_id: str, title: str, kind: str) -> Form:
        with self._lock:
            form = Form(form_id, title, kind, self.get(form_id).owner, time.time())
            self._forms[form_id] = form
        self._feed.publish("form.changed", form=asdict(form))
        return form

    def delete(self, form_id: str) -> None:
        with self._lock:
            self.get(form_id)
            del self._forms[form_id]
        self._feed.publish("form.deleted", id=form_id)


def create_app() -> Flask:
    """The whole service; gunicorn starts it with one worker and many threads."""
    app = Flask(__name__, static_folder=None)
    feed = Feed()
    forms = FormStore(feed)

    @app.errorhandler(HTTPException)
    def answer_error(error: HTTPException) -> tuple[dict[str, Any], int]:
        return {"error": error.name, "detail": error.description}, error.code or 500

    @app.get("/forms")
    def list_forms() -> dict[str, Any]:
        return {"forms": [asdict(form) for form in forms.list_all()]}

    @app.post("/forms")
    def create_form() -> tuple[dict[str, Any], int, dict[str, str]]:
        title, kind = _parse_form()
        form = forms.create(title, kind, owner=request.headers.get("X-User-ID", ""))
        return asdict(form), 201, {"Location": f"/forms/{quote(form.id, safe='')}"}

    @app.get("/forms/<form_id>")
    def show_form(form_id: str) -> dict[str, Any]:
        return asdict(forms.get(form_id))

    @app.put("/forms/<form_id>")
    def change_form(form_id: str) -> dict[str, Any]:
        title, kind = _parse_form()
        return asdict(forms.change(form_id, title, kind))

    @app.delete("/forms/<form_id>")
    def delete_form(form_id: str) -> tuple[str, int]:
        forms.delete(form_id)
        return "", 204

    @app.get("/events")
    def listen() -> Response:
        return Response(feed.listen(), mimetype="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.post("/events")
    def publish() -> tuple[str, int]:
        feed.publish("message", text=str(_parse_object().get("text", ""))[:200])
        return "", 202

    @app.post("/files")
    def upload() -> dict[str, Any]:
        digest, length = hashlib.sha256(), 0
        while chunk := request.stream.read(CHUNK_BYTES):
            digest.update(chunk)
            length += len(chunk)
        return {"bytes": length, "sha256": digest.hexdigest()}

    @app.get("/files/<int:length>")
    def download(length: int) -> Response:
        if length > MOST_DOWNLOAD_BYTES:
            raise BadRequest(f"A download has at most {MOST_DOWNLOAD_BYTES} bytes.")
        return Response(
            _make_bytes(length),
            mimetype="application/octet-stream",
            headers={
                "Content-Length": str(length),
                "Content-Disposition": f'attachment; filename="sample-{length}.bin"',
            },
        )

    @app.get("/whoami")
    def whoami() -> dict[str, Any]:
        headers = {name: request.headers[name] for name in IDENTITY_HEADERS if name in request.headers}
        return {"headers": headers, "authorization": _describe_authorization(request.headers.get("Authorization"))}

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def _parse_object() -> dict[str, Any]:
    body = request.get_json(force=True, silent=True)
    if not isinstance(body, dict):
        raise BadRequest("The body has to be a JSON object.")
    return body


def _parse_form() -> tuple[str, str]:
    body = _parse_object()
    title, kind = str(body.get("title", "")).strip(), str(body.get("kind", "note")).strip()
    if not title or len(title) > 200 or len(kind) > 40:
        raise BadRequest("A form needs a title of 1 to 200 characters and a kind of at most 40.")
    return title, kind


def _encode_event(event: str, **fields: Any) -> bytes:
    """One server-sent event; `sent_at` (seconds since the epoch) lets a listener tell how long it was under way."""
    data = json.dumps({"event": event, "sent_at": time.time(), **fields})
    return f"data: {data}\n\n".encode()


def _make_bytes(length: int) -> Iterator[bytes]:
    chunk = bytes(range(256)) * (CHUNK_BYTES // 256)
    while length > 0:
        yield chunk[:length] if length < CHUNK_BYTES else chunk
        length -= CHUNK_BYTES


def _describe_authorization(value: str | None) -> dict[str, Any] | None:
    """What the token is, never the token itself: this answer reaches a browser."""
    if value is None:
        return None
    scheme, _, token = value.partition(" ")
    segments = token.split(".")
    if len(segments) != 3:
        return {"scheme": scheme, "token": "opaque"}
    try:
        claims = json.loads(base64.urlsafe_b64decode(segments[1] + "=="))
    except (binascii.Error, ValueError):
        return {"scheme": scheme, "token": "opaque"}
    shown = {name: claims[name] for name in ("iss", "sub", "aud", "scope", "client_id") if name in claims}
    return {"scheme": scheme, "token": "JWT", "claims": shown}


app = create_app()
