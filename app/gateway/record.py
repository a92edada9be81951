"""What is left behind by a call: one access record, its metrics, and an audit event where it was refused."""

from __future__ import annotations

from collections.abc import Callable

from app.core.errors import BffError, StoreUnavailableError
from app.gateway.call import Call
from app.observability import access, audit, logs
from app.observability.metrics import Metrics

log = logs.get_logger(__name__)


class CallRecorder:
    """Told when a call begins, is refused, and is over."""

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float]) -> None:
        self._metrics = metrics
        self._monotonic = monotonic

    def begin(self, call: Call) -> None:
        logs.bind_request(call.request_id, _get_trace_id(call))
        self._metrics.start_call()

    def refuse(self, call: Call, error: BffError) -> None:
        """Notes the refusal; its `internal_reason` goes to the log and nowhere else."""
        self._metrics.count_refusal(error.code)
        if isinstance(error, StoreUnavailableError):
            self._metrics.count_store_error()
        if error.internal_reason:
            log.warning("call.refused", code=error.code, reason=error.internal_reason)
        audit.record_refusal(
            error.code,
            method=call.request.method,
            path=call.path,
            route_id=call.route.id if call.route else "",
            user_id=call.identity.user_id if call.identity else None,
            session=(call.identity.session_reference or None) if call.identity else None,
            client_address=call.client_address,
            **_tell_decision(call, error),
            duration_ms=round((self._monotonic() - call.started_at) * 1000, 3),
        )

    def end(self, call: Call, status: int) -> None:
        seconds = self._monotonic() - call.started_at
        method, route, identity = call.request.method, call.route, call.identity
        upstream_seconds = call.upstream_seconds
        route_id, service = (route.id, route.service.name) if route is not None else ("", "")
        self._metrics.end_call()
        self._metrics.observe_call(route_id, method, status, seconds)
        if upstream_seconds is not None:
            self._metrics.observe_upstream(service, upstream_seconds)
        access.record(
            access.AccessRecord(
                time=call.received_at,
                request_id=call.request_id,
                trace_id=_get_trace_id(call),
                method=method,
                path=call.path,
                route_id=route_id,
                service=service,
                status=status,
                code=call.error_code,
                decision=call.decision,
                duration_ms=seconds * 1000,
                upstream_ms=None if upstream_seconds is None else upstream_seconds * 1000,
                bytes_in=call.bytes_in,
                bytes_out=call.bytes_out,
                user_id=identity.user_id if identity is not None else None,
                session=(identity.session_reference or None) if identity is not None else None,
                client_address=call.client_address,
                aborted=call.is_cut_off,
            )
        )


def _get_trace_id(call: Call) -> str:
    return call.traceparent[3:35]  # its form was checked when the call began


def _tell_decision(call: Call, error: BffError) -> dict[str, object]:
    """What the decision point had to do with a refusal: its answer, remembered or not, and the words for the user."""
    return {"decision": call.decision, "reason": error.members.get("reason", "")} if call.decision else {}
