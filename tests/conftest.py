"""Fixtures that every kind of test may take."""

from __future__ import annotations

pytest_plugins = ["tests.support.real_op", "tests.support.bff", "tests.support.gateway", "tests.support.redis_servers"]
pytest_plugins += [
    "tests.support.real_pdp",
    "tests.support.demo",
    "tests.support.traefik",
    "tests.support.asked_gateway",
]
