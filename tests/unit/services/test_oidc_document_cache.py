"""One document, one fetch at a time, remembered failures and a bounded thirst for news."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from app.core.errors import IdpUnavailableError
from app.services.oidc_document_cache import NEWS_FETCHES, NEWS_SECONDS, CacheTimes, DocumentCache

TIMES = CacheTimes(lifetime=100, stale_lifetime=1000, back_off=5)


class Provider:
    """Gives `document-1`, `document-2`, … or fails."""

    def __init__(self) -> None:
        self.fetches = 0
        self.is_down = False
        self.now = 10_000.0

    def fetch(self) -> str:
        self.fetches += 1
        if self.is_down:
            raise IdpUnavailableError(internal_reason="down")
        return f"document-{self.fetches}"

    def clock(self) -> float:
        return self.now


def build_cache(provider: Provider, fetch: Callable[[], str] | None = None) -> DocumentCache[str]:
    return DocumentCache(fetch or provider.fetch, clock=provider.clock, times=TIMES)


def test_a_document_serves_for_its_lifetime() -> None:
    provider = Provider()
    cache = build_cache(provider)
    assert [cache.get(), cache.get()] == ["document-1", "document-1"]
    provider.now += 100
    assert cache.get() == "document-2"


def test_a_clock_that_was_set_back_does_not_keep_a_document_for_ever() -> None:
    provider = Provider()
    cache = build_cache(provider)
    cache.get()
    provider.now -= 50
    assert cache.get() == "document-2"


def test_an_old_document_serves_while_it_cannot_be_renewed_but_not_for_ever() -> None:
    provider = Provider()
    cache = build_cache(provider)
    cache.get()
    provider.is_down = True
    provider.now += 1099
    assert cache.get() == "document-1"
    provider.now += 1
    with pytest.raises(IdpUnavailableError):
        cache.get()


def test_a_failure_is_remembered_for_a_moment_only() -> None:
    provider = Provider()
    provider.is_down = True
    cache = build_cache(provider)
    for _ in range(3):
        with pytest.raises(IdpUnavailableError):
            cache.get()
    assert provider.fetches == 1
    provider.is_down = False
    provider.now += 5
    assert cache.get() == "document-2"


def test_newer_documents_can_be_asked_for_a_few_times_and_then_not_for_a_while() -> None:
    provider = Provider()
    cache = build_cache(provider)
    known = cache.get()
    for number in range(2, 2 + NEWS_FETCHES):
        known = cache.get_newer(known)
        assert known == f"document-{number}"
        provider.now += 1
    for _ in range(10):
        assert cache.get_newer(known) is known
    assert provider.fetches == 1 + NEWS_FETCHES
    provider.now += NEWS_SECONDS
    assert cache.get_newer(known) == f"document-{2 + NEWS_FETCHES}"


def test_one_who_knows_an_older_document_gets_the_newer_one_without_a_fetch() -> None:
    provider = Provider()
    cache = build_cache(provider)
    known = cache.get()
    cache.get_newer(known)
    assert cache.get_newer(known) == "document-2"
    assert provider.fetches == 2


def test_a_newer_document_that_cannot_be_had_leaves_the_known_one() -> None:
    provider = Provider()
    cache = build_cache(provider)
    known = cache.get()
    provider.is_down = True
    assert cache.get_newer(known) == known


def run_together(count: int, action: Callable[[], object]) -> list[object]:
    results: list[object] = []

    def collect() -> None:
        try:
            results.append(action())
        except IdpUnavailableError as error:
            results.append(error.code)

    threads = [threading.Thread(target=collect) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return results


@pytest.mark.parametrize("is_down", [False, True])
def test_many_at_once_make_one_fetch(is_down: bool) -> None:
    provider = Provider()
    provider.is_down = is_down
    started = threading.Event()

    def fetch_slowly() -> str:
        started.wait(5)
        return provider.fetch()

    cache = build_cache(provider, fetch_slowly)
    threading.Timer(0.1, started.set).start()
    results = run_together(20, cache.get)
    assert results == (["idp_unavailable"] * 20 if is_down else ["document-1"] * 20)
    assert provider.fetches == 1


def test_many_who_need_news_at_once_all_get_them_from_one_fetch() -> None:
    provider = Provider()
    started = threading.Event()

    def fetch() -> str:
        if provider.fetches:
            started.wait(5)
        return provider.fetch()

    cache = build_cache(provider, fetch)
    known = cache.get()
    threading.Timer(0.1, started.set).start()
    assert run_together(20, lambda: cache.get_newer(known)) == ["document-2"] * 20
    assert provider.fetches == 2


def test_nobody_waits_for_a_renewal_while_there_is_a_copy() -> None:
    provider = Provider()
    is_fetching, may_go_on = threading.Event(), threading.Event()

    def fetch() -> str:
        if provider.fetches:
            is_fetching.set()
            may_go_on.wait(10)
        return provider.fetch()

    cache = build_cache(provider, fetch)
    cache.get()
    provider.now += 100
    renewing = threading.Thread(target=cache.get)
    renewing.start()
    assert is_fetching.wait(5)
    assert cache.get() == "document-1"
    may_go_on.set()
    renewing.join(5)
    assert cache.get() == "document-2"


def test_an_unforeseen_error_leaves_the_cache_usable() -> None:
    provider = Provider()
    failures = [ValueError("odd")]

    def fetch() -> str:
        if failures:
            raise failures.pop()
        return provider.fetch()

    cache = build_cache(provider, fetch)
    with pytest.raises(ValueError, match="odd"):
        cache.get()
    assert cache.get() == "document-1"
