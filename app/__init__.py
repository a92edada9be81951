"""The BFF as a Flask application. `create_app` is its table of contents."""

from __future__ import annotations

from flask import Flask

from app.settings import Configuration, load_configuration


def create_app(configuration: Configuration | None = None) -> Flask:
    """Builds the application from `configuration`, or from the files that `BFF_CONFIG_DIR` names.

    Raises `ConfigurationError` with every fault at once. Nothing reads settings after this.
    """
    from app import wiring
    from app.blueprints import admin, auth, authzen, backchannel, forward_auth, health, me, proxy, well_known
    from app.hooks import error_handlers, frontends, request_context, security_headers

    services = wiring.build_services(configuration or load_configuration())

    app = Flask(__name__, static_folder=None)
    app.extensions["bff"] = services
    app.url_map.merge_slashes = False
    app.session_interface = wiring.build_session_interface(app, services)

    request_context.register(app, services)
    security_headers.register(app, services)
    frontends.register(app, services)
    error_handlers.register(app, services)

    app.register_blueprint(health.blueprint)
    app.register_blueprint(well_known.blueprint)
    app.register_blueprint(admin.blueprint)
    app.register_blueprint(auth.blueprint)
    app.register_blueprint(backchannel.blueprint)
    app.register_blueprint(forward_auth.blueprint)
    app.register_blueprint(me.blueprint)
    app.register_blueprint(authzen.blueprint)
    app.register_blueprint(proxy.blueprint)
    return app
