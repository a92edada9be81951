"""Real Redis servers: one alone, with TLS, with users, a primary and a replica under Sentinels, a cluster of six nodes.

Each listens on free loopback ports, keeps nothing on disk beyond its scratch folder, and is ended by its process id.
"""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.processes import Child, free_port, start_server, wait_until
from tests.unit.services.upstream.certificates import Authority

ADMIN_PASSWORD = "admin-of-this-test"
MASTER_NAME = "sessions"
NODE_TIMEOUT_MILLISECONDS = 1000
_SLOTS = 16384


def require_redis_server() -> None:
    """Fails the test with what to do when the program is not there."""
    if shutil.which("redis-server") is None:
        pytest.fail("redis-server is missing. Run make setup as root, or install Debian's redis-server.", pytrace=False)


@dataclass
class RedisServer:
    """One process, which may be ended, paused and started again on its port."""

    name: str
    folder: Path
    options: Mapping[str, str]
    port: int = field(default_factory=free_port)
    tls_ca_file: Path | None = None
    password: str = ""
    child: Child = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def host_and_port(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{'rediss' if self.tls_ca_file else 'redis'}://{self.host_and_port}"

    def start(self, ready: Callable[[], bool] | None = None) -> None:
        """Starts it on the port it always had, with what it saved, if anything; returns once it answers, or `ready`."""
        require_redis_server()
        port_option = "tls-port" if self.tls_ca_file else "port"
        options = {"port": "0", port_option: str(self.port), "dir": str(self.folder), **_DEFAULTS, **self.options}
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        self.child = start_server(
            self.name,
            ["redis-server", *words],
            log_path=self.folder / "log",
            ready=lambda _: (ready or self.is_answering)(),
        )

    def admin(self, timeout_seconds: float = 5) -> redis.Redis:
        """A client for the test's own hands; to be used in a `with`."""
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            password=self.password or None,
            protocol=2,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            ssl=self.tls_ca_file is not None,
            ssl_ca_certs=str(self.tls_ca_file) if self.tls_ca_file else None,
        )

    def command(self, *words: str | int) -> Any:
        with self.admin() as admin:
            return admin.execute_command(*words)

    def read_section(self, section: str) -> dict[str, Any]:
        """Of INFO."""
        with self.admin() as admin:
            return dict(admin.info(section))

    def is_answering(self) -> bool:
        try:
            with self.admin(timeout_seconds=2) as admin:
                return bool(admin.ping())
        except redis.RedisError:
            return False

    def pause(self) -> None:
        """It keeps its connections and answers nobody."""
        self.child.popen.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.child.popen.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9."""
        self.child.kill()

    def stop(self) -> None:
        self.child.kill()  # there is nothing to be saved, and a paused process hears no other signal


_DEFAULTS = {
    "bind": "127.0.0.1",
    "save": "",
    "appendonly": "no",
    "daemonize": "no",
    "protected-mode": "no",
    "repl-diskless-sync-delay": "0",
    "hz": "100",
}


@contextmanager
def running_redis(folder: Path, name: str = "redis", **options: str) -> Iterator[RedisServer]:
    """`options` are lines of redis.conf, `-` written as `_`."""
    server = RedisServer(name, folder / name, _name_options(options))
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running_tls_redis(folder: Path) -> Iterator[RedisServer]:
    """Shows a certificate for 127.0.0.1 of an authority made for it: `tls_ca_file`."""
    certificates = folder / "certificates"
    certificates.mkdir(parents=True)
    authority = Authority(certificates, "redis")
    issued = authority.issue("127.0.0.1")
    options = {
        "tls-cert-file": str(issued.cert_file),
        "tls-key-file": str(issued.key_file),
        "tls-ca-cert-file": str(authority.ca_file),
        "tls-auth-clients": "no",
    }
    server = RedisServer("redis-tls", folder / "redis-tls", options, tls_ca_file=authority.ca_file)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def running_redis_with_users(folder: Path, *rules: str) -> Iterator[RedisServer]:
    """`rules` are lines of an ACL file; the user `default` is the test's own and has `ADMIN_PASSWORD`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "users.acl"
    file.write_text("\n".join([f"user default on >{ADMIN_PASSWORD} ~* &* +@all", *rules, ""]))
    server = RedisServer("redis-acl", folder / "redis-acl", {"aclfile": str(file)}, password=ADMIN_PASSWORD)
    try:
        yield server
    finally:
        server.stop()


@dataclass
class SentinelTrio:
    """A primary, its replica, and three Sentinels that watch over them."""

    primary: RedisServer
    replica: RedisServer
    sentinels: Sequence[RedisServer]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(sentinel.host_and_port for sentinel in self.sentinels)}/{MASTER_NAME}"

    def find_primary_port(self) -> int:
        """As the first Sentinel sees it."""
        return _ask_for_primary_port(self.sentinels[0])

    def find_primary_ports(self) -> set[int]:
        """As each of the Sentinels sees it: one, when they all agree."""
        return {_ask_for_primary_port(sentinel) for sentinel in self.sentinels}

    def wait_until_watched(self) -> None:
        wait_until(
            lambda: all(_is_complete(sentinel) for sentinel in self.sentinels),
            timeout_seconds=30,
            what="the Sentinels to know each other and the replica",
        )


@contextmanager
def running_sentinels(
    folder: Path, *, down_after_milliseconds: int = NODE_TIMEOUT_MILLISECONDS
) -> Iterator[SentinelTrio]:
    """On a busy machine a short `down_after_milliseconds` makes the Sentinels replace a primary that is only slow."""
    with ExitStack() as stack:
        primary = stack.enter_context(running_redis(folder, "primary"))
        replica = stack.enter_context(running_redis(folder, "replica", replicaof=f"127.0.0.1 {primary.port}"))
        wait_until(lambda: _is_replicating(replica), timeout_seconds=30, what="the replica to follow")
        watching = (running_sentinel(folder, number, primary, down_after_milliseconds) for number in range(3))
        sentinels = [stack.enter_context(sentinel) for sentinel in watching]
        trio = SentinelTrio(primary, replica, sentinels)
        trio.wait_until_watched()
        yield trio


@dataclass
class Cluster:
    """Three masters with a third of the slots each, and a replica for each of them."""

    masters: Sequence[RedisServer]
    replicas: Sequence[RedisServer]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(node.host_and_port for node in self.masters[:2])}"

    @property
    def nodes(self) -> Sequence[RedisServer]:
        return [*self.masters, *self.replicas]

    def find_master(self, key: str) -> RedisServer:
        """Which of the masters has it, as they were at the start."""
        slot = int(self.nodes[-1].command("CLUSTER", "KEYSLOT", key))
        return self.masters[next(index for index, (first, last) in enumerate(_RANGES) if first <= slot <= last)]


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    with ExitStack() as stack:
        nodes = [stack.enter_context(_running_cluster_node(folder, number)) for number in range(6)]
        masters, replicas = nodes[:3], nodes[3:]
        for epoch, (master, (first, last)) in enumerate(zip(masters, _RANGES, strict=True), start=1):
            master.command("CLUSTER", "SET-CONFIG-EPOCH", epoch)
            master.command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in nodes[1:]:
            bus_port = nodes[0].options["cluster-port"]
            node.command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus_port)
        wait_until(
            lambda: all(_count_known_nodes(node) == len(nodes) for node in nodes),
            timeout_seconds=30,
            what="the nodes of the cluster to know each other",
        )
        for master, replica in zip(masters, replicas, strict=True):
            replica.command("CLUSTER", "REPLICATE", master.command("CLUSTER", "MYID").decode())
        wait_until(lambda: all(map(_is_replicating, replicas)), timeout_seconds=30, what="the replicas to follow")
        wait_until(lambda: all(map(_is_whole, nodes)), timeout_seconds=30, what="the cluster to be whole")
        yield Cluster(masters, replicas)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One server that tests share, each with keys of its own. Not to be harmed."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def tls_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """As `redis_server`, over TLS."""
    with running_tls_redis(tmp_path_factory.mktemp("redis-tls")) as server:
        yield server


@pytest.fixture(scope="session")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelTrio]:
    """As `redis_server`, found through Sentinels."""
    with running_sentinels(tmp_path_factory.mktemp("sentinels")) as trio:
        yield trio


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """As `redis_server`, a cluster."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


_RANGES = ((0, _SLOTS // 3), (_SLOTS // 3 + 1, 2 * _SLOTS // 3), (2 * _SLOTS // 3 + 1, _SLOTS - 1))
_prefixes = count(1)


def build_place(url: str, ca_file: Path | str = "", **settings: float) -> str:
    """What another process needs to open the same store: with keys of its own, so that servers can be shared."""
    prefix = f"test{next(_prefixes)}:"
    return json.dumps({"url": url, "settings": {"key_prefix": prefix, "ca_file": str(ca_file), **settings}})


def wait_for(condition: Callable[[], bool], what: str, timeout_seconds: float = 30) -> None:
    wait_until(condition, timeout_seconds=timeout_seconds, what=what)


@contextmanager
def running_sentinel(
    folder: Path, number: int, primary: RedisServer, down_after_milliseconds: int = NODE_TIMEOUT_MILLISECONDS
) -> Iterator[RedisServer]:
    """One of three: two of them have to agree that the primary is gone."""
    own_folder = folder / f"sentinel-{number}"
    own_folder.mkdir(parents=True)
    file = own_folder / "sentinel.conf"
    file.write_text(
        f"sentinel monitor {MASTER_NAME} 127.0.0.1 {primary.port} 2\n"
        f"sentinel down-after-milliseconds {MASTER_NAME} {down_after_milliseconds}\n"
        f"sentinel failover-timeout {MASTER_NAME} 5000\n"
    )
    sentinel = _Sentinel(own_folder.name, own_folder, {})
    try:
        yield sentinel
    finally:
        sentinel.stop()


class _Sentinel(RedisServer):
    """It writes what it learns into its own file."""

    def start(self, ready: Callable[[], bool] | None = None) -> None:
        require_redis_server()
        file = self.folder / "sentinel.conf"
        self.child = start_server(
            self.name,
            ["redis-server", file, "--sentinel", "--port", str(self.port), "--bind", "127.0.0.1"],
            log_path=self.folder / "log",
            ready=lambda _: (ready or self.is_answering)(),
        )


@contextmanager
def _running_cluster_node(folder: Path, number: int) -> Iterator[RedisServer]:
    with running_redis(
        folder,
        f"node-{number}",
        cluster_enabled="yes",
        cluster_port=str(free_port()),
        cluster_config_file="nodes.conf",
        cluster_node_timeout=str(NODE_TIMEOUT_MILLISECONDS),
        cluster_require_full_coverage="no",
    ) as node:
        yield node


def _name_options(options: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in options.items()}


def _is_replicating(server: RedisServer) -> bool:
    return str(server.read_section("replication").get("master_link_status")) == "up"


def _ask_for_primary_port(sentinel: RedisServer) -> int:
    return int(sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)[1])


def _is_complete(sentinel: RedisServer) -> bool:
    words = sentinel.command("SENTINEL", "MASTER", MASTER_NAME)
    facts = dict(zip(words[::2], words[1::2], strict=True)) if isinstance(words, list) else words
    texts = {_text(name): _text(value) for name, value in facts.items()}
    return texts["num-slaves"] == "1" and texts["num-other-sentinels"] == "2"


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _count_known_nodes(node: RedisServer) -> int:
    return int(_read_cluster_facts(node)["cluster_known_nodes"])


def _is_whole(node: RedisServer) -> bool:
    facts = _read_cluster_facts(node)
    return facts["cluster_state"] == "ok" and facts["cluster_slots_ok"] == str(_SLOTS)


def _read_cluster_facts(node: RedisServer) -> dict[str, str]:
    facts = node.command("CLUSTER", "INFO")
    if isinstance(facts, dict):
        return {_text(name): _text(value) for name, value in facts.items()}
    return dict(line.split(":", 1) for line in _text(facts).split())
