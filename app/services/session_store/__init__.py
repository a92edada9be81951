"""Sessions: who is logged in, for how long, and how that ends. `flask_interface` is imported apart."""

from app.services.session_store.catalogue import ListedSession, SessionCatalogue, build_utc_time, find_by_reference
from app.services.session_store.keys import build_session_key, is_session_id
from app.services.session_store.limit import SessionLimit
from app.services.session_store.record import NewSession, SessionRecord, build_identity
from app.services.session_store.store import SeenSession, SessionStore

__all__ = [
    "ListedSession",
    "NewSession",
    "SeenSession",
    "SessionCatalogue",
    "SessionLimit",
    "SessionRecord",
    "SessionStore",
    "build_identity",
    "build_session_key",
    "build_utc_time",
    "find_by_reference",
    "is_session_id",
]
