"""A backend-for-frontend as it is usually written in Flask with requests: the yardstick, not an example.

It is as good as the usual kind gets: one pool of connections, bodies streamed, the service's token and the decisions
remembered, sessions in Redis with Flask-Session, an access log and two metrics. What the BFF checks beyond that (paths,
origins, header names, locks) it does not do.
"""

from __future__ import annotations

import os
import time

import requests
from flask import Flask, Response, abort, request, session
from flask_session import Session
from prometheus_client import Counter, Histogram
from redis import Redis

BACKEND = os.environ["TYPICAL_BACKEND"]
SERVICE_TOKEN = "a-service-token-of-usual-length-" * 20
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "cookie"}
DECISION_SECONDS = 30

app = Flask(__name__)
app.config.update(
    SESSION_TYPE="redis", SESSION_REDIS=Redis.from_url(os.environ["TYPICAL_REDIS"]), SESSION_PERMANENT=True
)
Session(app)
http = requests.Session()
http.mount("http://", requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=64))
calls = Counter("calls", "Proxied calls", ["method", "status"])
durations = Histogram("call_seconds", "Duration of proxied calls", ["method"])
decisions: dict[tuple[str, str, str], float] = {}


@app.get("/login")
def log_in() -> str:
    """In place of a login: the figures are about calls."""
    session["user"] = {"sub": "alice", "name": "Alice", "roles": ["editor"], "permissions": ["forms.read"]}
    return "ok"


def is_allowed(subject: str, action: str, resource: str) -> bool:
    key = (subject, action, resource)
    if decisions.get(key, 0) < time.time():
        decisions[key] = time.time() + DECISION_SECONDS  # the decision point has said yes
    return True


@app.route("/api/crud/<path:path>", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def proxy(path: str) -> Response:
    started = time.perf_counter()
    user = session.get("user")
    if user is None:
        abort(401)
    if not is_allowed(user["sub"], request.method, path):
        abort(403)
    headers = {name: value for name, value in request.headers if name.lower() not in HOP_BY_HOP}
    headers["Authorization"] = f"Bearer {SERVICE_TOKEN}"
    headers["X-User-ID"] = user["sub"]
    answer = http.request(
        request.method,
        f"{BACKEND}/{path}",
        params=list(request.args.items(multi=True)),
        headers=headers,
        data=request.get_data(),
        allow_redirects=False,
        stream=True,
        timeout=30,
    )
    kept = [(name, value) for name, value in answer.raw.headers.items() if name.lower() not in HOP_BY_HOP]
    calls.labels(request.method, answer.status_code).inc()
    durations.labels(request.method).observe(time.perf_counter() - started)
    return Response(answer.raw.stream(65536, decode_content=False), answer.status_code, kept)
