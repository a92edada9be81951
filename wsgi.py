"""The WSGI entry point, imported once in every process that serves: `gunicorn -c gunicorn.conf.py wsgi:app`."""

from app import create_app
from app.observability.start import start_observing
from app.wiring import Services

app = create_app()

services: Services = app.extensions["bff"]
logging = services.configuration.settings.logging
start_observing(level=logging.level, audit_sink=logging.audit_sink, metrics=services.metrics)
services.state_store.start()
services.housekeeping.start()
services.copy_renewal.start()
services.key_rotation.start()
if services.client_registration is not None:
    services.client_registration.start()
services.token_refresher.start()
