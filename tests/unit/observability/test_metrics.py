from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.observability import metrics
from app.observability.metrics import ALL_METRICS, Metrics

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "metrics.md"


@pytest.fixture
def counted() -> Metrics:
    return Metrics()


def read(counted: Metrics) -> dict[str, float]:
    _, body = counted.render()
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_a_call_is_counted_and_timed(counted: Metrics) -> None:
    counted.observe_call("crud-forms", "GET", 200, 0.2)

    numbers = read(counted)
    assert numbers["bff_calls_total method=GET route=crud-forms status=200"] == 1
    assert numbers["bff_call_duration_seconds_sum route=crud-forms"] == 0.2


def test_a_method_that_somebody_made_up_makes_no_label(counted: Metrics) -> None:
    counted.observe_call("crud-forms", "GET-ME-A-SERIES", 405, 0.0)

    assert read(counted)["bff_calls_total method=OTHER route=crud-forms status=405"] == 1
    assert not [key for key in counted._places if key[1] not in {"GET", "POST"}], "nor stays in memory"


def test_a_call_that_matched_nothing_has_a_label_all_the_same(counted: Metrics) -> None:
    counted.observe_call("", "GET", 404, 0.0)

    assert read(counted)["bff_calls_total method=GET route=- status=404"] == 1


def test_every_count_has_its_metric(counted: Metrics) -> None:
    counted.observe_upstream("crud_service", 0.3)
    counted.count_refusal("csrf_failed")
    counted.count_login("completed")
    counted.count_logout()
    counted.count_session_ended("logout")
    counted.count_token_refresh("completed")
    counted.count_background_renewal("done")
    counted.count_access_record_dropped()
    counted.count_store_error()
    counted.start_call()
    counted.start_call()
    counted.end_call()

    numbers = read(counted)
    assert numbers["bff_upstream_duration_seconds_count service=crud_service"] == 1
    assert numbers["bff_refusals_total code=csrf_failed"] == 1
    assert numbers["bff_logins_total outcome=completed"] == 1
    assert numbers["bff_logouts_total"] == 1
    assert numbers["bff_sessions_ended_total reason=logout"] == 1
    assert numbers["bff_token_refreshes_total outcome=completed"] == 1
    assert numbers["bff_background_renewals_total outcome=done"] == 1
    assert numbers["bff_access_records_dropped_total"] == 1
    assert numbers["bff_store_errors_total"] == 1
    assert numbers["bff_calls_in_progress"] == 1


def test_a_scraper_that_asks_for_openmetrics_gets_it(counted: Metrics) -> None:
    content_type, body = counted.render("application/openmetrics-text; version=1.0.0")

    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_names_say_what_they_count_and_in_which_unit() -> None:
    for metric in ALL_METRICS:
        ending = {"counter": "_total", "histogram": "_seconds", "gauge": "_(in_progress|open|workers)"}[metric.kind]
        assert re.fullmatch(rf"bff_[a-z_]+{ending}", metric.name)


def test_gauges_are_known_by_name() -> None:
    assert frozenset({"bff_calls_in_progress", "bff_enforcement_off_workers", "bff_tunnels_open"}) == metrics.GAUGES


def test_the_reference_lists_exactly_the_metrics_there_are() -> None:
    rows = re.findall(r"^\| `(bff_\w+)` \| (\w+) \| (.*?) \|", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    described = {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}

    assert described == {(metric.name, metric.kind, metric.labels) for metric in ALL_METRICS}
