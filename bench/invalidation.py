"""How soon does a session that ended on one node end on the others?

    .venv/bin/python -m bench.invalidation [--ends 300]

Two nodes with a store each on one Redis. The second has a copy of every session, and keeps asking for it; the time is
that between the return of the end on the first node and the first answer of the second that the session is over.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from app.services.key_ring import load_or_create_key_ring
from bench.session_memory import log_in, open_stores
from tests.support.redis_servers import running_redis


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ends", type=int, default=300)
    arguments = parser.parse_args()
    delays = []
    with tempfile.TemporaryDirectory() as folder, running_redis(Path(folder)) as redis:
        key_ring = load_or_create_key_ring(Path(folder) / "keys")
        first_state, first, tokens = open_stores(redis.url, key_ring)
        second_state, second, _ = open_stores(redis.url, key_ring)
        for number in range(arguments.ends):
            session_id = log_in(first, tokens, number)
            for _ in range(20):  # from the second on out of its copy
                if second.find(session_id) is None:
                    raise RuntimeError("the second node does not find the session")
            first.end(session_id)
            ended_at = time.monotonic()
            while second.find(session_id) is not None:
                pass
            delays.append((time.monotonic() - ended_at) * 1000)
        first_state.close()
        second_state.close()
    delays.sort()
    p99 = delays[int(len(delays) * 0.99) - 1]
    print(f"{len(delays)} ends: median {statistics.median(delays):.2f} ms, p99 {p99:.2f} ms, most {delays[-1]:.2f} ms")


if __name__ == "__main__":
    main()
