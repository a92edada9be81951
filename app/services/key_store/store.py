"""The keys as one worker holds them, and the changes that are made for all.

Signing never waits for a disk or for Redis: it uses what is held. `follow` takes over what others have changed; the
background (`KeyRotation`) asks for it every few seconds. A place that fails takes no key away that is held, and one
that lost everything gets back what is held.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from app.core.errors import StoreUnavailableError
from app.observability import audit, logs
from app.services.key_store import plan
from app.services.key_store.key_file import KeyFileDamagedError, encode_keys, parse_keys
from app.services.key_store.plan import Keys, RotationPolicy
from app.services.key_store.signing_key import SigningKey, generate_signing_key
from app.services.private_document import PrivateDocument, PrivateDocumentError

KeyStoreStatus = Literal["ok", "held", "unavailable"]
"""`held`: the worker has keys, but could not read them the last time it looked."""

_TRUST_SECONDS = 1.0
"""However often the JWKS is asked for, or a key that is not there, the place is read about once a second."""

log = logs.get_logger(__name__)


class KeyStoreError(Exception):
    """The keys cannot be used as they are, or a change is refused; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What was read, and what it says."""

    content: bytes
    keys: Keys

    def __repr__(self) -> str:
        return f"_Held({self.keys!r})"


class KeyStore:
    """Holds nothing before `load`, `follow` or the first use."""

    def __init__(
        self,
        document: PrivateDocument,
        policy: RotationPolicy,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
        self._document = document
        self._clock = clock
        self._monotonic = monotonic
        self._held: _Held | None = None
        self._looked_at = float("-inf")
        self._read_trouble = ""
        self._change_trouble = ""

    # What signs and what is published

    @property
    def current(self) -> SigningKey:
        """The key to sign with; raises `StoreUnavailableError` while there is none to be had."""
        return plan.get_current(self._require_held().keys)

    def public_jwks(self) -> dict[str, list[dict[str, str]]]:
        """Returns the JWK Set (RFC 7517 §5) of every published key, the current one first. As fresh as a second, so
        that a new key is there everywhere long before it signs. Raises as `current`."""
        self._look()
        ordered = sorted(self._require_held().keys, key=lambda key: (key.state != "current", -key.created_at))
        return {"keys": [key.public_jwk for key in ordered]}

    def list_keys(self) -> Keys:
        """Returns all keys as they are in their place now, oldest first, and changes nothing. Raises as `load`."""
        content = self._read()
        return tuple(sorted(self._parse(content), key=lambda key: key.created_at)) if content is not None else ()

    def check(self) -> KeyStoreStatus:
        """Tells whether there are keys to work with."""
        if self._held is None:
            self._look()
        if self._held is None:
            return "unavailable"
        return "held" if self._read_trouble else "ok"

    # What changes them, for all

    def load(self) -> None:
        """Reads the keys, making a first one, which signs at once, where there is none.

        Raises `KeyStoreError` or `StoreUnavailableError`.
        """
        self._looked_at = self._monotonic()
        content = self._read()
        if content is None:
            self._change(lambda keys: keys)
        elif self._held is None or content != self._held.content:
            self._held = _Held(content, self._parse(content))

    def follow(self) -> None:
        """Takes over what others have changed, and does what is due. Does not fail: what is held stays, and the trouble
        is said once in the log."""
        self._look(at_once=True)
        if self._held is None or self._read_trouble or not self._is_change_due(self._held.keys):
            return
        try:
            self._change(self._advance)
        except (KeyStoreError, StoreUnavailableError) as error:
            self._change_trouble = _say_once("keys.not_rotated", error, self._change_trouble)
        else:
            self._change_trouble = ""

    def rotate(self, *, at_once: bool = False) -> SigningKey:
        """Publishes the next key, unless one is under way, and returns it; `at_once`: it signs from now on.

        Raises `KeyStoreError` or `StoreUnavailableError`.
        """

        def rotate(keys: Keys) -> Keys:
            keys = plan.advance(keys, self.policy, self._clock())
            following = plan.find_next(keys)
            if following is None:
                following = generate_signing_key(self.policy.algorithm, "next", self._clock())
                keys = (*keys, following)
            return plan.activate(keys, following.kid, self._clock()) if at_once else keys

        keys = self._change(rotate)
        return plan.find_next(keys) or plan.get_current(keys)

    def retire(self, kid: str) -> SigningKey:
        """Takes a key that does not sign out of the JWKS, for good; returns it. Raises `KeyStoreError` for the one that
        signs, and for one that is not there."""
        found: list[SigningKey] = []

        def retire(keys: Keys) -> Keys:
            found.extend(key for key in keys if key.kid == kid)
            if not found:
                raise KeyStoreError(f"There is no key {kid}.")
            if found[0].state == "current":
                raise KeyStoreError(
                    f"{kid} is the key that signs. Replace it first: `bff keys rotate`, or `bff keys rotate --now`."
                )
            return tuple(key for key in keys if key.kid != kid)

        self._change(retire)
        return found[0]

    def _advance(self, keys: Keys) -> Keys:
        now = self._clock()
        keys = plan.advance(keys, self.policy, now)
        if plan.needs_next(keys, self.policy, now):
            return (*keys, generate_signing_key(self.policy.algorithm, "next", now))
        return keys

    def _is_change_due(self, keys: Keys) -> bool:
        now = self._clock()
        return plan.advance(keys, self.policy, now) != keys or plan.needs_next(keys, self.policy, now)

    def _change(self, change: Callable[[Keys], Keys]) -> Keys:
        """Changes the keys as they are in their place at this moment, and holds what came of it."""
        before: Keys = ()
        after: Keys = ()

        def edit(content: bytes | None) -> bytes | None:
            nonlocal before, after
            before = self._parse(content) if content is not None else self._restore()
            after = change(before or (generate_signing_key(self.policy.algorithm, "current", self._clock()),))
            return encode_keys(after) if content is None or after != before else None

        try:
            content = self._document.change(edit)
        except PrivateDocumentError as error:
            raise KeyStoreError(str(error)) from None
        for event, key in plan.tell_changes(before, after):
            audit.record(event, kid=key.kid, algorithm=key.algorithm)
        self._held = _Held(content or b"", after)
        return after

    def _restore(self) -> Keys:
        """A place that came back without the keys gets those that are held, so that nothing published is lost."""
        if self._held is None:
            return ()
        log.error("keys.were_gone", place=self._document.place, meaning="the keys that this worker holds were put back")
        return self._held.keys

    def _read(self) -> bytes | None:
        try:
            return self._document.read()
        except PrivateDocumentError as error:
            raise KeyStoreError(str(error)) from None

    def _look(self, *, at_once: bool = False) -> None:
        if not at_once and self._monotonic() - self._looked_at < _TRUST_SECONDS:
            return
        try:
            self.load()
        except (KeyStoreError, StoreUnavailableError) as error:
            self._read_trouble = _say_once("keys.unreadable", error, self._read_trouble)
        else:
            self._read_trouble = ""

    def _require_held(self) -> _Held:
        if self._held is None:
            self._look()
        if self._held is None:
            raise StoreUnavailableError(
                internal_reason=f"there is no signing key: {self._read_trouble or 'none was made yet'}"
            )
        return self._held

    def _parse(self, content: bytes) -> Keys:
        try:
            return parse_keys(content)
        except KeyFileDamagedError as error:
            raise KeyStoreError(
                f"{self._document.place} {error}. Restore it, or move it away: a running BFF puts its keys back, "
                "else the next start makes a new one."
            ) from None


def _say_once(event: str, error: KeyStoreError | StoreUnavailableError, said: str) -> str:
    """Logs the trouble unless it is what was `said` before; returns it."""
    trouble = getattr(error, "internal_reason", "") or str(error)
    if trouble != said:
        log.error(event, reason=trouble)
    return trouble
