"""The BFF's signing keys: made at the first start, published as a JWKS (RFC 7517), and replaced in time.

`signing_key` is one key, `key_file` how they are written down, `plan` decides what is due (pure), `store` holds them
for a worker and changes them for all, `rotation` does so in time.
"""

from app.services.key_store.factory import build_key_directory_document as build_key_directory_document
from app.services.key_store.factory import build_key_store as build_key_store
from app.services.key_store.factory import build_shared_key_document as build_shared_key_document
from app.services.key_store.plan import RotationPolicy as RotationPolicy
from app.services.key_store.rotation import LOOK_SECONDS as LOOK_SECONDS
from app.services.key_store.rotation import KeyRotation as KeyRotation
from app.services.key_store.signing_key import Algorithm as Algorithm
from app.services.key_store.signing_key import KeyState as KeyState
from app.services.key_store.signing_key import SigningKey as SigningKey
from app.services.key_store.store import KeyStore as KeyStore
from app.services.key_store.store import KeyStoreError as KeyStoreError
from app.services.key_store.store import KeyStoreStatus as KeyStoreStatus
