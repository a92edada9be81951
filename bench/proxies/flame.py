"""Where a proxied call spends its time, as a flame graph: `make flame` writes build/bench/flame.svg.

The worker door with sessions in Redis and a decision point, small JSON, flat out; py-spy looks at the worker from
outside, 400 times a second, and changes nothing in it. It counts the thread that runs Python; what the kernel does
for the worker in between (sending, receiving, waiting) is not in the picture.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from bench.proxies.contestant import JSON_PATH
from bench.proxies.load import Workload, run_round
from bench.proxies.machine import Cores, list_tree
from bench.proxies.ours import start_ours
from bench.proxies.world import SETUPS, WORKER_REDIS, open_world

FLAME = Path(__file__).parents[2] / "build" / "bench" / "flame.svg"
LOOKS_PER_SECOND = 400


def main() -> None:
    setups = {setup.name: setup for setup in SETUPS}
    parser = argparse.ArgumentParser(prog="make flame OPTIONS=…", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--setup", choices=setups, default=WORKER_REDIS.name)
    parser.add_argument("--output", type=Path, default=FLAME)
    given = parser.parse_args()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    cores = Cores.choose()
    workload = Workload("json", JSON_PATH)
    with tempfile.TemporaryDirectory(prefix="bff-flame-") as folder, open_world(Path(folder), cores) as world:
        bff = start_ours(Path(folder) / "bff", world, setups[given.setup])
        try:
            run_round(bff, workload, 2, cores)
            load = threading.Thread(target=run_round, args=(bff, workload, given.seconds + 2, cores))
            load.start()
            worker = next(pid for pid in list_tree(bff.pids[0]) if pid != bff.pids[0])
            record(worker, given.seconds, given.output)
            load.join()
        finally:
            bff.stop()
    print(f"Written: {given.output}")


def record(pid: int, seconds: int, output: Path) -> None:
    py_spy = Path(sys.executable).with_name("py-spy")
    options = ["--duration", str(seconds), "--rate", str(LOOKS_PER_SECOND), "--gil", "--output", str(output)]
    subprocess.run([str(py_spy), "record", "--pid", str(pid), *options], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
