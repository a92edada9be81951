"""How the BFF runs under gunicorn: `gunicorn -c gunicorn.conf.py wsgi:app`. The shape of the processes only; everything
else is in the settings files.

BFF_BIND      where browsers (or the edge in front of us) connect; default 0.0.0.0:8000
WEB_CONCURRENCY   number of workers
BFF_CONFIG_DIR    where the settings files are
"""

# First of all: whatever is imported after this sees cooperative sockets, locks and threads.
from gevent import monkey

monkey.patch_all()

import math  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from pathlib import Path  # noqa: E402

# gunicorn may be started from anywhere; `app` and `wsgi` are beside this file.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from app.observability import access, audit, cells, lines, logs, metrics  # noqa: E402
from app.settings import ConfigurationError, load_configuration  # noqa: E402

try:
    settings = load_configuration().settings
except ConfigurationError as error:
    # Here, in the master, once: a worker that fails to boot would tell it as a traceback.
    print(error, file=sys.stderr)  # noqa: T201
    sys.exit(1)

try:
    audit.configure(settings.logging.audit_sink)
except OSError as error:
    print(f"logging.audit_sink: {settings.logging.audit_sink} cannot be opened: {error.strerror}", file=sys.stderr)  # noqa: T201
    sys.exit(1)

logs.configure(settings.logging.level)
log = logs.get_logger("gunicorn.conf")

# Memory rather than disk: workers write here on every call and every second, and must never wait for a disk.
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108

# --- sockets ---

bind = [os.environ.get("BFF_BIND", "0.0.0.0:8000"), settings.server.internal_bind]
# Two listeners, one application: /metrics and /admin answer only on the second, and it is told by its socket.
umask = 0o007
# A Unix socket given as BFF_BIND is for our user and group only.
_FILES_WANTED = 65_536
# Two descriptors a proxied call; the usual soft limit of 1024 would end at 500 calls.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(_soft, min(_hard, _FILES_WANTED)), _hard))

# --- processes ---

workers = int(os.environ.get("WEB_CONCURRENCY") or min(len(os.sched_getaffinity(0)), 4))
# A gevent worker fills one core. At most four unasked: a container's CPU quota is not seen here.
worker_class = "app.gateway.worker.BffWorker"
worker_connections = 4000
# Per worker and listener. An idle stream costs some 40 KiB: about 160 MiB at worst. Beyond it, clients queue.
worker_tmp_dir = _MEMORY
preload_app = False
# Each worker builds its own application: threads, open files, mappings and pooled connections do not survive a fork.
timeout = 30
# A worker whose loop has stood still for this long is replaced. Long calls do not count: they do not stop the loop.
graceful_timeout = math.ceil(settings.server.graceful_timeout_seconds)
max_requests = 0
# Workers are not restarted for their age: that would cut long streams, and there is no leak to hide.
control_socket_disable = True
# No second way in.

# --- connections and heads ---

keepalive = math.ceil(settings.server.keepalive_seconds)
# The worker class waits by the exact setting; gunicorn has to see only that it is not 0.
limit_request_line = 4094
# Bytes. A `return_to` may take 2048, a callback's code and state seldom more than 1000; beyond this: 414.
limit_request_fields = 100
# A browser behind two proxies sends about 40.
limit_request_field_size = 8190
# Bytes of one header line, the size that other servers agree on; beyond either: 431.
forwarded_allow_ips = ""
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
# gunicorn believes no peer anything. `server.trusted_proxies` is ours to apply, and `SCRIPT_NAME` as a header would
# move the path (gunicorn trusts peers on a Unix socket by default).
header_map = "drop"
# `X_User_ID` would become HTTP_X_USER_ID, the same as `X-User-ID`.
proxy_protocol = "off"

# --- logs ---

logger_class = "app.observability.gunicorn_logger.JsonLogger"
loglevel = settings.logging.level
accesslog = None
# Access lines are ours: JSON, without the query, and never waiting for who reads them.

if metrics.shared_directory is None:
    # Once per master; a reload (SIGHUP) runs this file again and must not lose the counts.
    metrics.shared_directory = Path(tempfile.mkdtemp(prefix="bff-metrics-", dir=_MEMORY))


def on_starting(server):
    """Makes a reload with faulty settings harmless: gunicorn would end master and workers."""
    reload = server.reload

    def reload_if_faultless():
        try:
            load_configuration()
        except ConfigurationError as error:
            for fault in error.faults:
                log.error("reload refused: the configuration has a fault", fault=str(fault))
            return
        reload()

    server.reload = reload_if_faultless


def post_fork(_server, _worker):
    """From here on a worker's log lines are written by a thread of the operating system.

    Not gevent's kind of thread: a greenlet that waits in write(2) for a full pipe stops the whole worker.
    """
    start_new_thread = monkey.get_original("_thread", "start_new_thread")
    access.start(
        start_thread=lambda run: start_new_thread(run, ()),
        sleep=monkey.get_original("time", "sleep"),
    )


def post_worker_init(worker):
    """From here on log lines that are lost are counted."""
    lines.stdout.on_drop = worker.wsgi.extensions["bff"].metrics.count_access_record_dropped


def worker_exit(_server, _worker):
    """Runs in the worker, last of all."""
    access.stop(timeout_seconds=2.0)


def child_exit(_server, worker):
    """Runs in the master once a worker is gone: its counts stay, its gauges go."""
    cells.retire(metrics.shared_directory, worker.pid, metrics.GAUGES)


def on_exit(_server):
    """Runs in the master, last of all; after an upgrade (SIGUSR2) the new master has a folder of its own."""
    shutil.rmtree(metrics.shared_directory, ignore_errors=True)
