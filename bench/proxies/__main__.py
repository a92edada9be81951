"""make bench                    all of it, some twenty-five minutes
    make bench OPTIONS=--quick    one short round of everything, to see that it runs; its figures mean little

Options: --rounds 5, --seconds 3, --ahead, --only calls,downloads,… (see PARTS), --contestants nginx,worker-redis,…
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from bench.proxies import report
from bench.proxies.machine import Cores
from bench.proxies.parts import PARTS, Plan
from bench.proxies.world import open_contestants, open_world

RESULTS = Path(__file__).parents[2] / "build" / "bench"


def parse_plan(words: list[str] | None = None) -> tuple[Plan, list[str], list[str], Path]:
    parser = argparse.ArgumentParser(prog="make bench OPTIONS=…", description="The BFF beside other proxies.")
    parser.add_argument("--quick", action="store_true", help="one short round of everything")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="of each round")
    parser.add_argument("--only", default="", help=f"parts, out of {','.join(PARTS)}")
    parser.add_argument("--contestants", default="", help="names, as the tables show them")
    parser.add_argument("--ahead", action="store_true", help="of all else on a busy machine: real-time, needs root")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where bench.json and bench.svg are written")
    given = parser.parse_args(words)
    if given.ahead:  # whatever is started from here on inherits it
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    parts = given.only.split(",") if given.only else list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}: choose out of {', '.join(PARTS)}")
    plan = Plan.quick() if given.quick else Plan(rounds=given.rounds, seconds=given.seconds)
    return plan, parts, given.contestants.split(",") if given.contestants else [], given.results


def main() -> None:
    plan, parts, names, results = parse_plan()
    cores = Cores.choose()
    found: dict[str, object] = {"machine": report.describe_machine(cores), "plan": plan.as_json()}
    with tempfile.TemporaryDirectory(prefix="bff-bench-") as folder, open_world(Path(folder), cores) as world:
        with open_contestants(Path(folder), world, names) as contestants:
            found["contestants"] = {contestant.name: contestant.title for contestant in contestants}
            for part in parts:
                if not PARTS[part].starts_its_own:
                    found[part] = PARTS[part].measure(plan, contestants, world, Path(folder))
                    report.show(part, found)
        for part in parts:
            if PARTS[part].starts_its_own:
                found[part] = PARTS[part].measure(plan, [], world, Path(folder))
                report.show(part, found)
    report.write(found, results)


if __name__ == "__main__":
    main()
