"""The other proxies: nginx, Apache with mod_auth_openidc, Flask with requests, oauth2-proxy; and the backend of all."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import requests

from bench.proxies.contestant import JSON_PATH, Caller, Contestant, write_callers
from bench.proxies.machine import Cores, list_tree
from tests.support.opwalk import walk
from tests.support.processes import Child, free_port, is_answering, minimal_environment, start_server
from tests.support.real_op import RealOp
from tests.support.redis_servers import RedisServer

JSON_BODY = (
    '{"id":"7","title":"Application for leave","owner":"alice","kind":"leave","state":"submitted",'
    '"fields":[{"name":"from","value":"2026-08-01"},{"name":"to","value":"2026-08-14"}],"version":3}'
)
MIB = 1024 * 1024


class Backend:
    """nginx with one answer of 190 bytes, two files, and a place that takes whatever is posted."""

    def __init__(self, directory: Path, cores: Cores) -> None:
        self.port = free_port()
        files = directory / "files"
        files.mkdir(parents=True)
        (files / "1m").write_bytes(secrets.token_bytes(MIB))
        with (files / "1g").open("wb") as file:
            file.truncate(1024 * MIB)
        make_readable(directory)
        configuration = build_nginx_configuration(
            directory,
            f"""
  sendfile on;
  server {{
    listen 127.0.0.1:{self.port} backlog=4096;
    client_max_body_size 0;
    location ~ ^(/api/crud)?/forms/ {{ default_type application/json; return 200 '{JSON_BODY}'; }}
    location ~ ^(/api/crud)?/upload {{ default_type text/plain; return 200 'ok'; }}
    location ~ ^(?:/api/crud)?/files/(.*)$ {{ alias {files}/$1; }}
  }}""",
            access_log="off",
        )
        self._command = cores.pin_other([find_server("nginx"), "-c", str(configuration), "-p", str(directory)])
        self._log_path = directory / "log"
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.child = start_server(
            "backend",
            self._command,
            log_path=self._log_path,
            ready=lambda _: is_answering(f"{self.url}/forms/7", status=200),
        )

    def kill(self) -> None:
        """kill -9, its worker first: that one would serve on without its master."""
        for pid in reversed(list_tree(self.child.pid)):
            os.kill(pid, signal.SIGKILL)
        self.child.kill()


def build_nginx_configuration(directory: Path, http: str, *, access_log: str) -> Path:
    path = directory / "nginx.conf"
    temporary = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in ("proxy", "client_body", "fastcgi"))
    path.write_text(
        f"""daemon off; worker_processes 1; pid {directory}/pid; error_log stderr error;
worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{
  access_log {access_log};
  keepalive_requests 1000000000; keepalive_timeout 75;
  {temporary} uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
{http}
}}
""",
        encoding="utf-8",
    )
    return path


def find_server(name: str) -> str:
    """Debian keeps servers where only root's PATH leads."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise SystemExit(f"{name} is missing: `make bench-setup` installs it or says how.")
    return found


def make_readable(directory: Path) -> None:
    """For servers that give up root: they have to pass through every folder above."""
    for folder in (directory, *directory.parents):
        if folder.stat().st_uid == 0 and folder != folder.parent:
            folder.chmod(folder.stat().st_mode | 0o711)


def start_nginx(directory: Path, backend: Backend, cores: Cores, events_port: int, echo_port: int) -> Contestant:
    """`proxy_pass` as its documentation has it, with connections kept to the backend: no session, no check."""
    port = free_port()
    directory.mkdir()
    make_readable(directory)
    configuration = build_nginx_configuration(
        directory,
        f"""
  upstream backend {{ server 127.0.0.1:{backend.port}; keepalive 64; keepalive_requests 1000000000; }}
  upstream events {{ server 127.0.0.1:{events_port}; }}
  upstream echo {{ server 127.0.0.1:{echo_port}; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    client_max_body_size 0;
    location /status {{ stub_status; }}
    location /api/crud/events {{ proxy_pass http://events/; proxy_http_version 1.1; proxy_buffering off; }}
    location /api/crud/echo {{
      proxy_pass http://echo/; proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";
    }}
    location /api/crud/ {{
      proxy_pass http://backend/; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
    }}
  }}""",
        access_log=f"{directory}/access.log combined",
    )
    command = cores.pin_proxy([find_server("nginx"), "-c", str(configuration), "-p", str(directory)])
    child = start_proxy("nginx", command, directory, port)
    callers = write_callers(directory / "callers", [Caller()])
    return Contestant("nginx", "nginx, proxy_pass alone", port, [child.pid], callers, child.stop)


def start_proxy(
    name: str, command: Sequence[str], directory: Path, port: int, *, status: int = 200, **variables: str
) -> Child:
    return start_server(
        name,
        command,
        log_path=directory / "log",
        ready=lambda _: is_answering(f"http://localhost:{port}{JSON_PATH}", status=status),
        environment=minimal_environment(**variables),
        directory=Path(__file__).parents[2],
    )


# --- Apache with mod_auth_openidc ---

_MODULES = (
    *("mpm_event", "authn_core", "authz_core", "authz_user", "auth_basic", "proxy", "proxy_http", "auth_openidc"),
    "status",
)


def start_apache(
    directory: Path, backend: Backend, op: RealOp, cores: Cores, *, redis: RedisServer | None = None
) -> Contestant:
    """mod_auth_openidc, logged in at the provider; its sessions in shared memory, or in Redis."""
    port = free_port()
    directory.mkdir()
    make_readable(directory)
    origin = f"http://localhost:{port}"
    client = op.register_client(origin)
    cache = f"redis\n  OIDCRedisCacheServer {redis.host_and_port}" if redis else "shm"
    modules = "\n".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in _MODULES)
    (directory / "apache.conf").write_text(
        f"""{modules}
ServerName localhost
ServerRoot {directory}
DefaultRuntimeDir {directory}
PidFile {directory}/pid
ErrorLog {directory}/error.log
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{{Referer}}i\\" \\"%{{User-Agent}}i\\"" combined
CustomLog {directory}/access.log combined
User www-data
Group www-data
Listen 127.0.0.1:{port} http
ListenBacklog 4096
# One process with many threads: what suits one core.
StartServers 1
ServerLimit 1
ThreadLimit 256
ThreadsPerChild 256
MaxRequestWorkers 256
MaxConnectionsPerChild 0
AsyncRequestWorkerFactor 8
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 75
ExtendedStatus On
LimitRequestBody 0
<VirtualHost *:{port}>
  OIDCProviderMetadataURL {op.issuer}/.well-known/openid-configuration
  OIDCProviderTokenEndpointAuth client_secret_basic
  OIDCClientID {client.client_id}
  OIDCClientSecret {client.client_secret}
  OIDCRedirectURI {origin}/auth/callback
  OIDCCryptoPassphrase {secrets.token_urlsafe(32)}
  OIDCScope "openid profile email"
  OIDCPKCEMethod S256
  OIDCSessionInactivityTimeout 3600
  OIDCCacheType {cache}
  <Location />
    AuthType openid-connect
    Require valid-user
  </Location>
  ProxyPass /api/crud/ http://127.0.0.1:{backend.port}/ keepalive=On max=64
</VirtualHost>
""",
        encoding="utf-8",
    )
    command = [find_server("apache2"), "-f", str(directory / "apache.conf"), "-DFOREGROUND"]
    child = start_proxy("apache", cores.pin_proxy(command), directory, port, status=302)
    with requests.Session() as browser:
        browser.trust_env = False
        url = walk(browser, origin + JSON_PATH, stop_at=f"{origin}/auth/callback")
        answer = browser.get(url, allow_redirects=False, timeout=10)
        if answer.status_code != 302:
            raise SystemExit(f"the login through Apache failed: {answer.status_code} {answer.text[:300]}")
        cookie = f"mod_auth_openidc_session={browser.cookies['mod_auth_openidc_session']}"
    name = "apache-redis" if redis else "apache-shm"
    title = f"Apache, mod_auth_openidc, sessions in {'Redis' if redis else 'shared memory'}"
    callers = write_callers(directory / "callers", [Caller(cookie)])
    return Contestant(name, title, port, [child.pid], callers, child.stop)


# --- Flask with requests ---


def start_typical(directory: Path, backend: Backend, cores: Cores, redis: RedisServer, python: str) -> Contestant:
    port = free_port()
    directory.mkdir()
    gunicorn = [python, "-m", "gunicorn", "-k", "gevent", "-w", "1", "-b", f"127.0.0.1:{port}", "--keep-alive", "75"]
    command = [*gunicorn, "--access-logfile", str(directory / "access.log"), "bench.proxies.typical:app"]
    child = start_proxy(
        "flask",
        cores.pin_proxy(command),
        directory,
        port,
        status=401,
        TYPICAL_BACKEND=backend.url,
        TYPICAL_REDIS=redis.url,
    )
    answer = requests.get(f"http://localhost:{port}/login", timeout=10)
    callers = write_callers(directory / "callers", [Caller(f"session={answer.cookies['session']}")])
    return Contestant("flask", "Flask with requests, sessions in Redis", port, [child.pid], callers, child.stop)


# --- oauth2-proxy, where it is installed ---


def start_oauth2_proxy(directory: Path, backend: Backend, op: RealOp, cores: Cores, redis: RedisServer) -> Contestant:
    port = free_port()
    directory.mkdir()
    origin = f"http://localhost:{port}"
    client = op.register_client(origin, redirect_uris=[f"{origin}/oauth2/callback"])
    options = {
        "provider": "oidc",
        "oidc-issuer-url": op.issuer,
        "client-id": client.client_id,
        "client-secret": client.client_secret,
        "cookie-secret": secrets.token_urlsafe(32)[:32],
        "cookie-secure": "false",
        "redirect-url": f"{origin}/oauth2/callback",
        "http-address": f"127.0.0.1:{port}",
        "upstream": backend.url,
        "email-domain": "*",
        "scope": "openid profile email",
        "code-challenge-method": "S256",
        "skip-provider-button": "true",
        "insecure-oidc-allow-unverified-email": "true",
        "pass-access-token": "true",
        "session-store-type": "redis",
        "redis-connection-url": redis.url,
        "metrics-address": f"127.0.0.1:{free_port()}",
    }
    command = ["oauth2-proxy", *(f"--{name}={value}" for name, value in options.items())]
    child = start_proxy("oauth2-proxy", cores.pin_proxy(command), directory, port, status=302, GOMAXPROCS="1")
    with requests.Session() as browser:
        browser.trust_env = False
        url = walk(browser, origin + JSON_PATH, stop_at=f"{origin}/oauth2/callback")
        answer = browser.get(url, allow_redirects=False, timeout=10)
        if answer.status_code != 302:
            raise SystemExit(f"the login through oauth2-proxy failed: {answer.status_code} {answer.text[:300]}")
        cookie = f"_oauth2_proxy={browser.cookies['_oauth2_proxy']}"
    callers = write_callers(directory / "callers", [Caller(cookie)])
    return Contestant("oauth2-proxy", "oauth2-proxy, sessions in Redis", port, [child.pid], callers, child.stop)


def has_oauth2_proxy() -> bool:
    return shutil.which("oauth2-proxy") is not None
