"""The application from files, with real services that call nobody, and a few endpoints that misbehave."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from flask import Flask, Response, g, request

from app import create_app
from app.core.errors import AccessDeniedError, StoreUnavailableError
from app.settings import load_configuration

HOST = "app.example.com"
ORIGIN = f"https://{HOST}"
SPA_ORIGIN = "https://spa.example.com"
SECRET = "Zm9yLXlvdXItZXllcy1vbmx5"


def build_app(directory: Path, *, sections: Mapping[str, Any] | None = None, **server: Any) -> Flask:
    """Builds the application; `server` changes that section of the settings, `sections` takes the place of others."""
    settings: Mapping[str, Any] = {
        "server": {"public_url": ORIGIN, "trusted_proxies": ["10.0.0.0/8"], **server},
        "oidc": {
            "issuer": "https://op.example.com",
            "client_id": "bff",
            "client_auth": "client_secret_basic",
            "client_secret": "a-secret-of-enough-characters",
        },
        "session": {"directory": str(directory / "state")},
        "keys": {"directory": str(directory / "keys")},
        "cors": {"allow_origins": [SPA_ORIGIN]},
        **(sections or {}),
    }
    route = {
        "path": "/api/crud/*",
        "target_service": "crud",
        "upstream_path": "/{path}",
        "auth": "none",
        "authz": "none",
    }
    routes = {"services": {"crud": {"base_url": "http://127.0.0.1:9"}}, "routes": [route]}
    config = directory / "config"
    config.mkdir(parents=True, exist_ok=True)
    (config / "settings.yaml").write_text(yaml.safe_dump(dict(settings)), encoding="utf-8")
    (config / "routes.yaml").write_text(yaml.safe_dump(routes), encoding="utf-8")
    app = create_app(load_configuration(config, {}))
    add_misbehaving_endpoints(app)
    return app


def add_misbehaving_endpoints(app: Flask) -> None:
    """Puts endpoints of every kind below `/auth/`, where nothing of `routes.yaml` can be."""

    @app.get("/auth/fine")
    def fine() -> Response:
        return Response("<p>fine</p>", mimetype="text/html")

    @app.get("/auth/own-headers")
    def own_headers() -> Response:
        policy = {"Content-Security-Policy": "default-src 'self'", "Cache-Control": "public, max-age=5"}
        return Response("<p>fine</p>", mimetype="text/html", headers={**policy, "Referrer-Policy": "no-referrer"})

    @app.get("/auth/proxied")
    def proxied() -> Response:
        g.bff_proxied = True
        return Response("from a backend", mimetype="text/html")

    @app.get("/auth/denied")
    def denied() -> Response:
        raise AccessDeniedError("Not you.", members={"reason": "no such role"})

    @app.get("/auth/store-is-down")
    def store_is_down() -> Response:
        raise StoreUnavailableError(internal_reason="disk gone")

    @app.get("/auth/crash")
    def crash() -> Response:
        code_verifier = SECRET
        raise KeyError(f"access_token={code_verifier}")

    @app.post("/auth/form")
    def form() -> dict[str, str]:
        return dict(request.form)
