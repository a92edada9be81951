"""What a remembered decision costs, whether callers who miss at once ask once, and how much memory decisions take.

    .venv/bin/python -m bench.decisions [--rounds 50000] [--callers 1000] [--questions 100000]

The first figure is step 5 of a proxied call as the product runs it, with the demo's configuration: the call is mapped,
its question built, encoded and hashed, the epoch looked up, and the decision found. It is CPU time of the process, the
best of several rounds, and so are those of its parts. For the second figure threads start together against a decision
point that counts what it is asked and takes half a second.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path

from app.core.cross_site import FetchMetadata
from app.core.headers import HeaderView
from app.core.hosts import OwnOrigins
from app.core.identity import Identity
from app.core.permissions import (
    CallFacts,
    Permission,
    Question,
    QuestionPolicy,
    Resource,
    build_decision_key,
    build_question,
    encode_question,
)
from app.core.request_target import parse_request_target
from app.gateway.call import Call
from app.gateway.enforcement import Enforcer
from app.gateway.head_facts import HeadFacts
from app.gateway.messages import ProxyRequest
from app.services.authorization import Pdp, build_authorization, build_pdp
from app.services.authorizer import Authorizer
from app.services.decision_cache import DecisionCache
from app.services.key_ring import KeyRing
from app.services.pdp_answers import Decision
from app.services.permission_guard import PermissionGuard
from app.services.shared_decisions import SharedDecisions
from app.services.state_store import StateStore
from app.services.state_store.directory import DirectoryStateStore
from app.services.state_store.redis_engine import open_redis_state_store
from app.settings import load_configuration
from app.settings.schema.pdp_file import PdpConnection, PdpFile
from app.settings.schema.session_section import RedisSettings
from tests.support.real_pdp import start_cerbos
from tests.support.redis_servers import running_redis

DEMO_CONFIGURATION = Path(__file__).parents[1] / "demo" / "config"
ALICE = Identity("alice", "alice", "demo", "5ba02b854986a1cff69667598a108a21", {"roles": ["editor", "user"]})
FORM = Permission("read", Resource("form", "alice-1"))
POLICY = QuestionPolicy(subject_claims=("roles",))
BEST_OF = 7
MAX_SIZE = 10_000


class CountingPoint:
    """Allows everything after a moment, and counts each question."""

    def __init__(self, seconds: float = 0) -> None:
        self.count_asked = 0
        self._seconds = seconds
        self._counting = threading.Lock()

    def evaluate(self, question: bytes, request_id: str) -> Decision:
        return self.evaluate_all([question], request_id)[0]

    def evaluate_all(self, questions: Sequence[bytes], request_id: str) -> list[Decision]:  # noqa: ARG002
        with self._counting:
            self.count_asked += len(questions)
        time.sleep(self._seconds)
        return [Decision(is_allowed=True) for _ in questions]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50_000)
    parser.add_argument("--callers", type=int, default=1_000)
    parser.add_argument("--questions", type=int, default=100_000)
    parser.add_argument("--shared", action="store_true", help="measure decisions that are shared through Redis, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        measure_cost(Path(directory), arguments.rounds)
    for distinct in (1, 10):
        measure_misses(arguments.callers, distinct)
    measure_memory(arguments.questions)
    if arguments.shared:
        with tempfile.TemporaryDirectory() as directory:
            measure_shared(Path(directory))


def measure_cost(directory: Path, rounds: int) -> None:
    configuration = load_configuration(DEMO_CONFIGURATION, environ={})
    built = build_authorization(
        configuration,
        state_store=DirectoryStateStore(directory, clock=time.time),
        key_ring=KeyRing([bytes(range(32))]),
        count_decision=lambda _: None,
        clock=time.time,
        monotonic=time.monotonic,
    )
    authorizer = Authorizer(
        CountingPoint(),
        cache=build_cache(),
        get_epoch=built.epoch.get,
        max_batch=50,
        count=lambda _: None,
        monotonic=time.monotonic,
    )
    match = configuration.route_table.match("/api/crud/forms/alice-1")
    assert match is not None
    target = parse_request_target("/api/crud/forms/alice-1")
    call = build_call()
    mapper, policy, epoch = built.mapper, built.policy, built.epoch
    enforcer = Enforcer(
        mapper=mapper,
        guard=PermissionGuard(policy=policy, authorizer=authorizer, clock=time.time, monotonic=time.monotonic),
        switch=built.switch,
        monotonic=time.monotonic,
    )
    question = build_question(policy, ALICE, FORM, CallFacts())
    encoded = encode_question(question)
    authorizer.decide(question, ALICE.decision_scope, "id")
    steps: dict[str, Callable[[], object]] = {
        "step 5 of a call, remembered": lambda: enforcer.check(call, match, target, None),
        "  map the call": lambda: mapper.map_call(match, "GET", target.path).resolve(None),
        "  build the question": lambda: build_question(policy, ALICE, FORM, CallFacts()),
        "  encode it": lambda: encode_question(question),
        "  hash it": lambda: build_decision_key(encoded),
        "  look up the epoch (one stat)": epoch.get,
        "  decide, all of it": lambda: authorizer.decide(question, ALICE.decision_scope, "id"),
    }
    for name, work in steps.items():
        print(f"{name:34} {measure_cpu_micros(work, rounds):6.2f} µs")
    assert call.decision == "allow (remembered)"


def build_call() -> Call:
    origins = OwnOrigins("http://localhost:8000")
    call = Call(
        request=ProxyRequest("GET", "/api/crud/forms/alice-1", [], None, "127.0.0.1", "http"),
        facts=HeadFacts(
            lines=[],
            headers=HeaderView(()),
            metadata=FetchMetadata(None, None, None, None),
            correlation_id="",
            traceparent="",
            forwarded_for="127.0.0.1",
            client_address="127.0.0.1",
            own_origin=origins.main,
        ),
        request_id="id",
        traceparent="",
        is_preflight=False,
        own_origin=origins.main,
        received_at=0,
        started_at=0,
    )
    call.identity = ALICE
    return call


def measure_cpu_micros(work: Callable[[], object], rounds: int) -> float:
    best = float("inf")
    for _ in range(BEST_OF):
        started = time.process_time()
        for _ in range(rounds):
            work()
        best = min(best, time.process_time() - started)
    return best / rounds * 1e6


def measure_misses(callers: int, distinct: int) -> None:
    point = CountingPoint(seconds=0.5)
    authorizer = build_authorizer(point, build_cache())
    together = threading.Barrier(callers)

    def ask(number: int) -> None:
        question = build_numbered_question(number % distinct)
        together.wait()
        authorizer.decide(question, ALICE.decision_scope, "id")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(f"{callers} callers at once, {distinct} distinct questions: the decision point was asked {point.count_asked}")


def measure_memory(questions: int) -> None:
    cache = build_cache()
    authorizer = build_authorizer(CountingPoint(), cache)
    tracemalloc.start()
    for number in range(questions):
        authorizer.decide_all([build_numbered_question(number)], ALICE.decision_scope, "id")
    used, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{questions} distinct questions: {len(cache)} decisions remembered, {used / len(cache):.0f} bytes each;")
    print(f"  {used / 2**20:.1f} MiB in all, {peak / 2**20:.1f} MiB at most")


def measure_shared(directory: Path) -> None:
    cerbos = start_cerbos(directory)
    try:
        with running_redis(directory) as redis:
            state = open_redis_state_store(redis.url, RedisSettings(), time.time)
            pdp_file = PdpFile(connection=PdpConnection(base_url=cerbos.url))
            measure_shared_against(state, build_pdp(pdp_file, time.monotonic))
            state.close()
    finally:
        cerbos.stop()


def measure_shared_against(state: StateStore, pdp: Pdp, rounds: int = 2_000) -> None:
    shared = SharedDecisions(
        state, KeyRing([bytes(range(32))]), ttl_allow_seconds=3600, ttl_deny_seconds=3600, clock=time.time
    )
    encoded = encode_question(build_numbered_question(1))
    key, scope = build_decision_key(encoded), (*ALICE.decision_scope, "1")
    decision = pdp.client.evaluate(encoded, "id")
    steps: dict[str, Callable[[], object]] = {
        "ask Cerbos on this machine": lambda: pdp.client.evaluate(encoded, "id"),
        "tell the others (SET)": lambda: shared.keep(scope, key, decision),
        "find it shared (GET)": lambda: shared.find(scope, key),
        "miss it there": lambda: shared.find((*scope, "x"), key),
    }
    for name, work in steps.items():
        work()
        started, used = time.perf_counter(), time.process_time()
        for _ in range(rounds):
            work()
        cpu = (time.process_time() - used) / rounds * 1e6
        print(
            f"{name:34} {cpu:6.0f} µs CPU, {(time.perf_counter() - started) / rounds * 1e6:6.0f} µs until it is there"
        )


def build_numbered_question(number: int) -> Question:
    permission = Permission("read", Resource("form", f"alice-{number}"))
    return build_question(POLICY, ALICE, permission, CallFacts())


def build_cache() -> DecisionCache:
    return DecisionCache(ttl_allow_seconds=3600, ttl_deny_seconds=5, max_size=MAX_SIZE, monotonic=time.monotonic)


def build_authorizer(point: CountingPoint, cache: DecisionCache) -> Authorizer:
    return Authorizer(
        point, cache=cache, get_epoch=lambda: "1", max_batch=50, count=lambda _: None, monotonic=time.monotonic
    )


if __name__ == "__main__":
    main()
