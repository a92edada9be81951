"""How the BFF runs under gunicorn: `gunicorn -c gunicorn.conf.py wsgi:app`. The shape of the processes only; everything
else is in the settings files.

BFF_BIND      where browsers (or the edge in front of us) connect; default 0.0.0.0:8000
WEB_CONCURRENCY   number of workers
BFF_CONFIG_DIR    where the settings files are
"""

# ruff: noqa: E402 - the patch has to come before every other import

# First of all: whatever is imported after this sees cooperative sockets, locks and threads.
from gevent import monkey

monkey.patch_all()

import math
import os
import resource
import shutil
import sys
import tempfile
from pathlib import Path

# gunicorn may be started from anywhere; `app` and `wsgi` are beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from app.core.errors import StoreUnavailableError
from app.observability import access, audit, cells, logs, metrics
from app.services.key_ring import KeyFileError
from app.services.key_store import KeyStoreError
from app.services.state_store.factory import RedisNotInstalledError
from app.services.state_store.private_files import NotAPrivateFileError, UnsafePermissionsError
from app.settings import ConfigurationError, load_configuration
from app.wiring import build_services

START_FAULTS = (
    ConfigurationError,
    KeyFileError,
    KeyStoreError,
    NotAPrivateFileError,
    OSError,
    RedisNotInstalledError,
    StoreUnavailableError,
    UnsafePermissionsError,
)

log = logs.get_logger("gunicorn.conf")


def load_settings():
    """Loads the settings and opens, for a moment, all that a worker will open; raises one of `START_FAULTS`.

    Here, in the master, once: a worker that fails to boot would tell it as a traceback.
    """
    configuration = load_configuration()
    logs.configure(configuration.settings.logging.level)
    audit.configure(configuration.settings.logging.audit_sink)
    build_services(configuration)
    for sentence in configuration.warnings:
        log.warning("the configuration is good but may not be what was meant", warning=sentence)
    return configuration.settings


def describe_fault(fault):
    reason = getattr(fault, "internal_reason", "")
    return f"{fault} ({reason})" if reason else str(fault)


try:
    settings = load_settings()
except START_FAULTS as fault:
    print(describe_fault(fault), file=sys.stderr)  # noqa: T201
    sys.exit(1)

# Memory rather than disk: workers write here on every call and every second, and must never wait for a disk.
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108

# Two listeners, one application: /metrics and /admin answer only on the second, and it is told by its socket.
bind = [os.environ.get("BFF_BIND", "0.0.0.0:8000"), settings.server.internal_bind]
# A Unix socket given as BFF_BIND is for our user and group only.
umask = 0o007
# Two descriptors a proxied call; the usual soft limit of 1024 would end at 500 calls.
_FILES_WANTED = 65_536
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(_soft, min(_hard, _FILES_WANTED)), _hard))

# A gevent worker fills one core. At most four unasked: a container's CPU quota is not seen here.
workers = int(os.environ.get("WEB_CONCURRENCY") or min(len(os.sched_getaffinity(0)), 4))
worker_class = "app.gateway.worker.BffWorker"
# Per worker and listener. An idle stream costs some 35 KiB: about 140 MiB at worst. Beyond it, clients queue.
worker_connections = 4000
worker_tmp_dir = _MEMORY
# Each worker builds its own application: threads, open files, mappings and pooled connections do not survive a fork.
preload_app = False
# Seconds. A worker whose loop has stood still for this long is replaced; long calls do not stop the loop.
timeout = 30
# What is under way when this is over is ended by its worker, which then still has to write down what became of it. So
# the master waits longer; `post_fork` tells the worker its own time.
_LAST_WORDS_SECONDS = 8
graceful_timeout = math.ceil(settings.server.graceful_timeout_seconds) + _LAST_WORDS_SECONDS
# Workers are not restarted for their age: that would cut long streams, and there is no leak to hide.
max_requests = 0
# No second way in.
control_socket_disable = True

# The worker class waits by the exact setting; gunicorn has to see only that it is not 0.
keepalive = math.ceil(settings.server.keepalive_seconds)
# Bytes. A `return_to` may take 2048, a callback's code and state seldom more than 1000; beyond this: 414.
limit_request_line = 4094
# A browser behind two proxies sends about 40; beyond this: 431.
limit_request_fields = 100
# Bytes of one header line, the size that other servers agree on; beyond this: 431.
limit_request_field_size = 8190
# gunicorn believes no peer anything: `server.trusted_proxies` is ours to apply. Left alone, it would take the scheme,
# and as `SCRIPT_NAME` even the path, from a header of any peer on a Unix socket.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
proxy_protocol = "off"
# `X_User_ID` would become HTTP_X_USER_ID, the same as `X-User-ID`.
header_map = "drop"

logger_class = "app.observability.gunicorn_logger.JsonLogger"
loglevel = settings.logging.level
# Access lines are ours: JSON, without the query, and never waiting for who reads them.
accesslog = None

# Once per master; a reload (SIGHUP) runs this file again and must not lose the counts.
if metrics.shared_directory is None:
    metrics.shared_directory = Path(tempfile.mkdtemp(prefix="bff-metrics-", dir=_MEMORY))


def on_starting(server):
    """Runs in the master, before there are workers."""
    start_log_thread()
    refuse_faulty_reloads(server)


def start_log_thread():
    """From here on log lines are written by a thread of the operating system, in the master and in each worker.

    Not gevent's kind of thread: a greenlet that waits in write(2) for a full pipe stops all of its process.
    """
    start_new_thread = monkey.get_original("_thread", "start_new_thread")
    access.start(
        start_thread=lambda run: start_new_thread(run, ()),
        sleep=monkey.get_original("time", "sleep"),
    )


def refuse_faulty_reloads(server):
    """Makes a reload (SIGHUP) with faulty settings harmless: gunicorn would end master and workers."""
    reload = server.reload

    def reload_if_faultless():
        try:
            load_settings()
        except START_FAULTS as fault:
            log.error("a reload was refused, and everything goes on as it was", fault=describe_fault(fault))
        else:
            reload()

    server.reload = reload_if_faultless


def post_fork(_server, worker):
    """Runs in the worker, first of all."""
    if worker.cfg.graceful_timeout == graceful_timeout:  # and not what a command line says
        worker.cfg.set("graceful_timeout", graceful_timeout - _LAST_WORDS_SECONDS)


def worker_exit(_server, worker):
    """Runs in the worker, last of all."""
    extensions = getattr(worker.wsgi, "extensions", None)  # a worker that did not boot has none
    if extensions:
        services = extensions["bff"]
        services.key_rotation.stop()
        services.token_refresher.stop(timeout_seconds=2.0)
        services.state_store.close()
    access.stop(timeout_seconds=2.0)


def child_exit(_server, worker):
    """Runs in the master once a worker is gone: its counts stay, its gauges go."""
    cells.retire(metrics.shared_directory, worker.pid, metrics.GAUGES)


def on_exit(_server):
    """Runs in the master, last of all; after an upgrade (SIGUSR2) the new master has a folder of its own."""
    access.stop(timeout_seconds=2.0)
    shutil.rmtree(metrics.shared_directory, ignore_errors=True)
