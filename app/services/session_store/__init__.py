"""Sessions: who is logged in, for how long, and how that ends. `flask_interface` is imported apart."""

from app.services.session_store.keys import build_session_key, is_session_id
from app.services.session_store.record import NewSession, SessionRecord
from app.services.session_store.store import SessionStore

__all__ = ["NewSession", "SessionRecord", "SessionStore", "build_session_key", "is_session_id"]
