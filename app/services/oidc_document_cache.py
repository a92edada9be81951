"""Keeps one document of the identity provider (its metadata, its keys): fetched when first needed, one fetch at a time.

Nothing is fetched at start, so the BFF starts while the provider is down. A copy that is past its lifetime is renewed,
and is used a while longer if the renewal fails. A failure is remembered for a few seconds only: long enough that a
crowd of waiting requests does not line up for one timeout each, short enough that a provider that is back is noticed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.core.errors import IdpUnavailableError

Document = TypeVar("Document")


@dataclass(frozen=True, slots=True)
class CacheTimes:
    """How long a document is trusted, in seconds."""

    lifetime: float
    stale_lifetime: float
    """Past `lifetime`, and only while it cannot be renewed."""
    back_off: float
    """After a failed fetch."""


NEWS_FETCHES, NEWS_SECONDS = 4, 30.0
"""Fetches that somebody who knows the current copy may ask for: at most so many in so long."""


@dataclass(frozen=True, slots=True)
class _Copy(Generic[Document]):
    document: Document
    fetched_at: float


class DocumentCache(Generic[Document]):
    """`fetch` raises `IdpUnavailableError`; the other errors it may raise are the caller's and are not kept."""

    def __init__(self, fetch: Callable[[], Document], *, clock: Callable[[], float], times: CacheTimes) -> None:
        self._fetch = fetch
        self._clock = clock
        self._times = times
        self._lock = threading.Lock()
        self._copy: _Copy[Document] | None = None
        self._failed_at: float | None = None
        self._news_asked_at: deque[float] = deque(maxlen=NEWS_FETCHES)

    def get(self) -> Document:
        """Returns the document; raises `IdpUnavailableError` when there is none and none can be had."""
        copy = self._copy
        if copy is not None and self._is_younger(copy, self._times.lifetime):
            return copy.document
        # With a copy at hand nobody waits for the one who renews it.
        return self._renew(unless=copy, wait=self.find_cached() is None)

    def find_cached(self) -> Document | None:
        """Returns what `get` would give without asking anybody."""
        copy = self._copy
        usable = self._times.lifetime + self._times.stale_lifetime
        return copy.document if copy is not None and self._is_younger(copy, usable) else None

    def get_newer(self, known: Document) -> Document:
        """Returns a document fetched after `known`, or `known` again when news were asked for too often lately.

        That is what stops a stream of tokens with invented key ids from becoming a stream of fetches.
        """
        with self._lock:
            copy = self._copy
            if copy is not None and copy.document is not known:
                return copy.document
            asked = self._news_asked_at
            if len(asked) == NEWS_FETCHES and self._within(asked[0], NEWS_SECONDS):
                return known
            asked.append(self._clock())
            return self._fetch_unless_it_just_failed()

    def _renew(self, unless: _Copy[Document] | None, *, wait: bool) -> Document:
        if not self._lock.acquire(blocking=wait):
            return self._get_stale()
        try:
            current = self._copy
            if current is not None and current is not unless:
                return current.document
            return self._fetch_unless_it_just_failed()
        finally:
            self._lock.release()

    def _fetch_unless_it_just_failed(self) -> Document:
        if self._failed_at is not None and self._within(self._failed_at, self._times.back_off):
            return self._get_stale()
        return self._fetch_now()

    def _fetch_now(self) -> Document:
        try:
            document = self._fetch()
        except IdpUnavailableError as error:
            self._failed_at = self._clock()
            return self._get_stale(error)
        self._copy, self._failed_at = _Copy(document, self._clock()), None
        return document

    def _get_stale(self, error: IdpUnavailableError | None = None) -> Document:
        document = self.find_cached()
        if document is not None:
            return document
        raise error or IdpUnavailableError(internal_reason="the identity provider failed a moment ago")

    def _is_younger(self, copy: _Copy[Document], seconds: float) -> bool:
        return self._within(copy.fetched_at, seconds)

    def _within(self, moment: float, seconds: float) -> bool:
        """False too when the clock was set back past `moment`, so that nothing lives for ever."""
        return 0 <= self._clock() - moment < seconds
