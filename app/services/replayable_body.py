"""A request body that can be sent a second time as long as little of it has been read."""

from __future__ import annotations

from app.services.upstream_messages import RequestBody

MAX_KEPT_BYTES = 65536


class ReplayableBody:
    """Passes a body on as it comes and keeps the first 64 KiB; once more has flowed, nothing is kept."""

    def __init__(self, body: RequestBody) -> None:
        self._body = body
        self._kept = bytearray()
        self._position = 0
        """How much of what was kept has been read again."""
        self._is_replayable = True

    @property
    def length(self) -> int | None:
        return self._body.length

    def read(self, max_bytes: int) -> bytes:
        if self._position < len(self._kept):
            piece = bytes(self._kept[self._position : self._position + max_bytes])
            self._position += len(piece)
            return piece
        piece = self._body.read(max_bytes)
        self._keep(piece)
        return piece

    def rewind(self) -> bool:
        """Begins again at the first byte; False when too much has flowed for that."""
        self._position = 0
        return self._is_replayable

    def _keep(self, piece: bytes) -> None:
        if not self._is_replayable:
            return
        if len(self._kept) + len(piece) > MAX_KEPT_BYTES:
            self._is_replayable = False
            self._kept.clear()
            self._position = 0
            return
        self._kept += piece
        self._position = len(self._kept)
