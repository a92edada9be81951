"""How gunicorn runs the demo's backend; without a file of its own it would take the BFF's `gunicorn.conf.py`."""

wsgi_app = "demo.crud_service:app"
workers = 1
# One process, because the forms are in its memory.
worker_class = "gthread"
threads = 64
# One for each live feed and each transfer at a time.
graceful_timeout = 1
# Live feeds never end by themselves.
control_socket_disable = True
