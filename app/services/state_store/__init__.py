"""Where sessions, tokens, pending logins and locks live: one interface, an engine per kind of place."""

from app.services.state_store.interface import Claim, LockHold, StateStore, StoredRecord

__all__ = ["Claim", "LockHold", "StateStore", "StoredRecord"]
