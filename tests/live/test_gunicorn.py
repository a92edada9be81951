"""gunicorn.conf.py as it runs in production: starts, faults, reloads, many workers, a log that nobody reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.support.bff import Bff, build_route, build_settings, merge, start_bff, write_configuration
from tests.support.processes import free_port, is_answering, minimal_environment, wait_until
from tests.support.product import GUNICORN, PRODUCT, PYTHON
from tests.support.raw_backend import find_closed_port
from tests.support.real_op import BASIC_CLIENT

pytestmark = pytest.mark.live

COMMAND = [*GUNICORN, "wsgi:app"]


def build_routes() -> dict[str, Any]:
    closed = f"http://127.0.0.1:{find_closed_port()}"
    return {
        "services": {"nobody": {"base_url": closed}},
        "routes": [build_route("/public/*", "nobody", "/{path}", auth="none")],
    }


def write_files(directory: Path, port: int, internal_port: int, **changes: Any) -> dict[str, str]:
    """Writes a configuration without provider and backend; returns the environment that uses it."""
    closed = f"http://127.0.0.1:{find_closed_port()}"
    settings = build_settings(port, internal_port, issuer=closed, client=BASIC_CLIENT, directory=directory)
    write_configuration(directory / "config", merge(settings, changes), build_routes())
    return minimal_environment(BFF_BIND=f"127.0.0.1:{port}", BFF_CONFIG_DIR=str(directory / "config"))


@pytest.fixture
def bff(tmp_path: Path) -> Iterator[Bff]:
    closed = f"http://127.0.0.1:{find_closed_port()}"
    running = start_bff(
        tmp_path, issuer=closed, client=BASIC_CLIENT, backend_url=closed, workers=2, routes=build_routes()
    )
    try:
        running.wait_for_workers(2)
        yield running
    finally:
        running.stop()


@pytest.fixture
def http() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


def read_metrics(http: requests.Session, internal_port: int) -> dict[str, float]:
    text = http.get(f"http://127.0.0.1:{internal_port}/metrics", timeout=10).text
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def run_to_end(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND, cwd=PRODUCT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_faulty_configuration_ends_the_start_with_the_whole_list(tmp_path: Path) -> None:
    """O6."""
    environment = write_files(tmp_path, free_port(), free_port())
    (tmp_path / "config" / "settings.yaml").write_text("server: {public_url: nonsense}\nunknown: 1\n", encoding="utf-8")
    ended = run_to_end(environment)

    assert ended.returncode == 1
    assert "server.public_url" in ended.stderr
    assert "unknown" in ended.stderr
    assert "oidc" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_a_state_folder_that_is_none_ends_the_start(tmp_path: Path) -> None:
    environment = write_files(tmp_path, free_port(), free_port())
    (tmp_path / "state").write_text("", encoding="utf-8")
    ended = run_to_end(environment)

    assert ended.returncode == 1
    assert str(tmp_path / "state") in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_useless_audit_file_ends_the_start(tmp_path: Path) -> None:
    environment = write_files(tmp_path, free_port(), free_port(), logging={"audit_sink": str(tmp_path)})
    ended = run_to_end(environment)

    assert ended.returncode == 1
    assert str(tmp_path) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_key_file_that_others_may_read_ends_the_start(tmp_path: Path) -> None:
    environment = write_files(tmp_path, free_port(), free_port())
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "signing-keys.json").write_text("{}", encoding="utf-8")
    (tmp_path / "keys" / "signing-keys.json").chmod(0o644)
    ended = run_to_end(environment)

    assert ended.returncode == 1
    assert "chmod 600" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_every_line_of_a_run_is_json_and_the_access_log_is_ours(bff: Bff, http: requests.Session) -> None:
    assert http.get(f"{bff.origin}/public/x?code=secret-code", timeout=10).status_code == 502
    bff.child.wait_until(
        lambda: '"upstream_unreachable"' in bff.child.read_log(), timeout_seconds=10, what="the record"
    )
    assert bff.stop() == 0

    records = [json.loads(line) for line in bff.child.read_log().splitlines()]
    assert {"gunicorn.error"} <= {record.get("logger") for record in records}
    assert "gunicorn.access" not in {record.get("logger") for record in records}
    assert {record["log"] for record in records} == {"event", "access", "audit"}
    assert "secret-code" not in bff.child.read_log()


def test_the_counts_of_all_workers_add_up_and_outlive_them(bff: Bff, http: requests.Session) -> None:
    for _ in range(40):
        # A new connection each time, so that both workers get some.
        requests.get(f"{bff.origin}/public/x", timeout=10, headers={"Connection": "close"})
    name = "bff_call_duration_seconds_count public"
    assert read_metrics(http, bff.internal_port)[name] == 40

    before = set(bff.worker_pids())
    for pid in before:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not before & set(bff.worker_pids()), timeout_seconds=30, what="new workers")
    bff.wait_for_workers(2)
    numbers = read_metrics(http, bff.internal_port)
    assert numbers[name] == 40
    assert numbers["bff_calls_in_progress"] == 1  # the scrape itself: those of the dead are gone


def test_a_reload_with_a_faulty_configuration_is_refused(bff: Bff, http: requests.Session) -> None:
    before = set(bff.worker_pids())
    settings = bff.directory / "config" / "settings.yaml"
    good = settings.read_text(encoding="utf-8")
    settings.write_text("server: {public_url: nonsense}\n", encoding="utf-8")
    os.kill(bff.child.pid, signal.SIGHUP)
    bff.child.wait_until(lambda: "a reload was refused" in bff.child.read_log(), timeout_seconds=20, what="a refusal")
    assert set(bff.worker_pids()) == before
    assert bff.is_live()

    settings.write_text(good, encoding="utf-8")
    os.kill(bff.child.pid, signal.SIGHUP)
    wait_until(lambda: not before & set(bff.worker_pids()), timeout_seconds=30, what="new workers")
    bff.wait_for_workers(2)
    assert bff.is_live()


def test_a_reload_takes_new_settings_and_keeps_the_counts(bff: Bff, http: requests.Session) -> None:
    http.get(f"{bff.origin}/public/x", timeout=10)
    before = set(bff.worker_pids())
    routes = build_routes()
    routes["routes"][0]["path"] = "/renamed/*"
    (bff.directory / "config" / "routes.yaml").write_text(yaml.safe_dump(routes), encoding="utf-8")
    os.kill(bff.child.pid, signal.SIGHUP)
    wait_until(lambda: not before & set(bff.worker_pids()), timeout_seconds=30, what="new workers")
    bff.wait_for_workers(2)

    assert is_answering(f"{bff.origin}/renamed/x", status=502)
    assert is_answering(f"{bff.origin}/public/x", status=404)
    assert read_metrics(http, bff.internal_port)["bff_calls_total GET public 502"] == 1


def test_the_folder_of_counts_goes_with_the_master(bff: Bff) -> None:
    opened = {path.readlink() for path in Path(f"/proc/{bff.worker_pids()[0]}/fd").iterdir() if path.is_symlink()}
    (cells,) = [target for target in opened if target.suffix == ".cells"]
    assert cells.exists()
    bff.stop()
    assert not cells.parent.exists()


def test_the_audit_file_is_followed_after_a_rotation(tmp_path: Path) -> None:
    closed = f"http://127.0.0.1:{find_closed_port()}"
    trail = tmp_path / "audit.log"
    running = start_bff(
        tmp_path / "bff",
        issuer=closed,
        client=BASIC_CLIENT,
        backend_url=closed,
        workers=2,
        settings={"logging": {"audit_sink": str(trail)}},
    )
    try:
        assert "key.created" in trail.read_text(encoding="utf-8")
        trail.rename(tmp_path / "audit.log.1")
        os.kill(running.child.pid, signal.SIGUSR1)
        wait_until(trail.exists, timeout_seconds=20, what="a new file")

        def is_in_new_file() -> bool:
            evil = {"Origin": "https://evil.example"}
            requests.get(f"{running.origin}/api/auth/session", headers=evil, timeout=10)
            return "csrf.refused" in trail.read_text(encoding="utf-8")

        wait_until(is_in_new_file, timeout_seconds=20, what="an event in the new file")
    finally:
        running.stop()


def test_a_log_that_nobody_reads_stalls_neither_calls_nor_the_stop(tmp_path: Path, http: requests.Session) -> None:
    port, internal_port = free_port(), free_port()
    environment = {**write_files(tmp_path, port, internal_port), "WEB_CONCURRENCY": "1"}
    process = subprocess.Popen(
        COMMAND, cwd=PRODUCT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    )
    assert process.stdout is not None
    try:
        origin = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_answering(f"{origin}/health/live"), timeout_seconds=30, what="an answer")
        # A pipe holds 64 KiB: about 200 of these lines. Without the thread the next one would never return.
        for _ in range(1000):
            assert http.get(f"{origin}/health/live", timeout=10).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
        lines = process.stdout.read().splitlines()
        assert 100 < len(lines) < 1000
        assert all(json.loads(line) for line in lines)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


TELL_WORKERS_TIME = """
import runpy
from types import SimpleNamespace
from gunicorn.config import Config

file = runpy.run_path("gunicorn.conf.py")
for seconds in (file["graceful_timeout"], 3):
    worker = SimpleNamespace(cfg=Config())
    worker.cfg.set("graceful_timeout", seconds)
    file["post_fork"](None, worker)
    print(worker.cfg.graceful_timeout)
"""


def test_a_worker_gets_its_own_time_to_stop_and_a_command_line_has_its_way(tmp_path: Path) -> None:
    environment = write_files(tmp_path, free_port(), free_port(), server={"graceful_timeout_seconds": 7})
    command = [PYTHON, "-c", TELL_WORKERS_TIME]
    told = subprocess.run(
        command, cwd=PRODUCT, env=environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert [int(line) for line in told.splitlines() if line.isdigit()] == [7, 3]
