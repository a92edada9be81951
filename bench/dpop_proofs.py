"""What does a bound token cost a call?

    .venv/bin/python -m bench.dpop_proofs [--proofs 5000]

Prints microseconds of CPU, on one core: for one proof with a key that is in use, for reading a key that is not, and
for making a new one.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from app.services.dpop_exchange import build_token_headers
from app.services.dpop_key import BoundToken, generate_dpop_key, parse_dpop_key

ROUNDS = 5


def measure(work: Callable[[], object], count: int) -> float:
    """The best of some rounds: what disturbs only makes it slower."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(count):
            work()
        best = min(best, time.process_time() - begun)
    return best / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--proofs", type=int, default=5000)
    count = parser.parse_args().proofs
    key = generate_dpop_key()
    token = BoundToken("a" * 800, key)
    url, now = "https://crud.example.com/forms/7", time.time()
    headers = measure(lambda: build_token_headers(token, "GET", url, now=now, nonce="n" * 43), count)
    size = sum(
        len(name) + len(value) + 4
        for name, value in build_token_headers(token, "GET", url, now=now, nonce="n" * 43).items()
        if name == "DPoP"
    )
    print(f"a proof                     {headers:6.0f} us, {size} bytes of header")
    print(f"reading a key that is kept  {measure(lambda: parse_dpop_key.__wrapped__(key.text), count // 5):6.0f} us")
    print(f"making a key                {measure(generate_dpop_key, count // 5):6.0f} us")


if __name__ == "__main__":
    main()
