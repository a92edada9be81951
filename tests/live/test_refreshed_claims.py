"""A role lost at the real provider is lost on every instance once the user's token has been refreshed (L27).

Tokens last a few seconds here, so the background refreshes them all the time.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.browser_client import BrowserClient
from tests.support.farm import Farm, build_redis_settings, running_farm
from tests.support.log_lines import wait_for_lines
from tests.support.processes import wait_until
from tests.support.redis_servers import running_redis

pytestmark = pytest.mark.live

SETTINGS = {"oidc": {"userinfo": True}, "tokens": {"refresh_ahead_seconds": 4, "sweep_interval_seconds": 1}}


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    directory = tmp_path_factory.mktemp("farm")
    with running_redis(directory) as redis:
        settings = {**SETTINGS, **build_redis_settings(redis.url)}
        with running_farm(directory, settings=settings, access_token_seconds=8) as farm:
            yield farm


@pytest.fixture(autouse=True)
def faults_end(farm: Farm) -> Iterator[None]:
    yield
    farm.op.clear_faults()


def read_roles(farm: Farm, browser: BrowserClient) -> list[object]:
    """What each instance tells the page."""
    answers = [farm.call(instance, browser, "/api/auth/session?slide=false") for instance in farm.instances]
    assert [answer.status_code for answer in answers] == [200, 200]
    return [answer.json()["user"]["roles"] for answer in answers]


def count_refreshes(farm: Farm) -> int:
    return len([event for event in farm.op.events("grant.success") if event["grant_type"] == "refresh_token"])


def test_a_role_lost_at_the_provider_is_lost_on_both_instances_after_the_refresh(farm: Farm) -> None:
    browser = farm.log_in("admin-ann")
    assert read_roles(farm, browser) == [["admin", "user"]] * 2
    farm.op.mutate(userinfo={"set": {"roles": ["user"]}})
    wait_until(
        lambda: read_roles(farm, browser) == [["user"]] * 2, timeout_seconds=30, what="the role to be lost everywhere"
    )
    assert browser.is_logged_in()
    [event] = wait_for_lines(farm.logs, event="claims.changed", user_id="admin-ann")
    assert event["claims"] == ["roles"]
    browser.log_out()


def test_a_provider_whose_userinfo_hangs_delays_no_refresh_for_long_and_costs_nobody_a_role(farm: Farm) -> None:
    browser = farm.log_in("admin-bob")
    before = count_refreshes(farm)
    farm.op.mutate(fail={"/me": {"delay_ms": 60_000}})
    wait_until(lambda: count_refreshes(farm) >= before + 2, timeout_seconds=40, what="refreshes to go on")
    assert farm.call(farm.second, browser, "/api/profile/whoami").status_code == 200
    assert read_roles(farm, browser) == [["admin", "user"]] * 2
    assert wait_for_lines(farm.logs, event="claims.not_refreshed")
    browser.log_out()
