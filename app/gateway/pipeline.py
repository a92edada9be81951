"""The way of a proxied call: nine steps down, one answer back (DESIGN §3).

The steps stand as nine lines in `Pipeline._carry`. Each adds to what is known about the call or refuses it by raising
from `core/errors.py`; `OwnAnswers.refuse` is the one place where a refusal becomes an answer. Nothing is written to the
client before step 9. The path that was matched is the path that is sent, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus

from app.core.cross_site import check_csrf_token, check_websocket_origin, is_preflight
from app.core.errors import (
    BadRequestError,
    BffError,
    InternalError,
    MethodNotAllowedError,
    NotAuthenticatedError,
    RouteNotFoundError,
    SessionExpiredError,
    TokenInvalidError,
)
from app.core.headers import build_answer_headers, check_unrepeated_headers
from app.core.own_endpoints import OWN_ENDPOINTS, is_own_path
from app.core.request_target import RequestTarget, check_target_fits_route, parse_request_target
from app.core.routes import Route, RouteMatch, RouteTable
from app.core.step_up import check_authentication
from app.core.upstream_target import build_upstream_target, map_base_paths, map_location
from app.core.websocket import Handshake, check_switch, find_handshake
from app.gateway.backend_lines import BackendLines
from app.gateway.bodies import AnswerBody, LimitedBody
from app.gateway.call import Call
from app.gateway.call_ids import make_request_id, make_traceparent
from app.gateway.collaborators import Bearers, Limits, Recorder, Sessions, Tokens, Watch
from app.gateway.enforcement import Enforcer
from app.gateway.event_streams import EventStreams, is_event_stream
from app.gateway.head_facts import HeadFacts, HeadReader
from app.gateway.messages import Claim, HeaderLines, ProxyRequest, ProxyResponse, RequestBody, do_nothing
from app.gateway.own_answers import OwnAnswers
from app.gateway.policy import GatewayPolicy
from app.gateway.websocket import Tunnel, Tunnels
from app.observability import logs
from app.services.bound_calls import BoundCalls
from app.services.dpop_key import AccessToken, BoundToken
from app.services.session_store import SessionRecord, build_identity
from app.services.upstream_client import Upstream, UpstreamRequest, UpstreamResponse

_SWITCHING_PROTOCOLS = HTTPStatus.SWITCHING_PROTOCOLS.value

log = logs.get_logger(__name__)


class Pipeline:
    """Carries calls from either front door to their backends."""

    def __init__(
        self,
        *,
        policy: GatewayPolicy,
        route_table: RouteTable,
        sessions: Sessions,
        bearers: Bearers,
        enforcer: Enforcer,
        tokens: Tokens,
        upstream: Upstream,
        recorder: Recorder,
        session_watch: Watch[str],
        time_watch: Watch[float],
        tunnels: Tunnels,
        event_streams: EventStreams,
        limits: Limits | None,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._heads = HeadReader(policy)
        self._routes = route_table
        self._sessions = sessions
        self._bearers = bearers
        self._enforcer = enforcer
        self._tokens = tokens
        self._upstream = upstream
        self._bound_calls = BoundCalls(upstream, clock)
        self._recorder = recorder
        self._own_answers = OwnAnswers(policy, recorder)
        self._session_watch = session_watch
        self._time_watch = time_watch
        self._tunnels = tunnels
        self._event_streams = event_streams
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._base_paths = map_base_paths(route_table)
        self._backend_lines = BackendLines(self._heads, self._base_paths)

    def claim(self, raw_target: str) -> Claim | None:
        """Returns what the route table says of a target; None where no route takes it, whatever the reason."""
        try:
            target = parse_request_target(raw_target)
        except BffError:
            return None
        match = self._routes.match(target.path)
        return Claim(target, match, self._build_upstream_target(match, target)) if match is not None else None

    def handle(self, request: ProxyRequest) -> ProxyResponse:
        """Answers one call. Never raises for anything the client or a backend did."""
        call = self._begin(request)
        try:
            return self._carry(call)
        except BffError as error:
            return self._own_answers.refuse(call, error)
        except Exception as error:
            log.exception("call.crashed", error_type=type(error).__name__)
            return self._own_answers.refuse(call, InternalError())
        except BaseException:
            # Killed, as what outlasts a stop is. Nobody is answered; that there was a call is written down.
            call.is_cut_off = True
            self._recorder.end(call, HTTPStatus.SERVICE_UNAVAILABLE)
            raise

    def _carry(self, call: Call) -> ProxyResponse:
        target = self._read_target(call)
        match = self._match_route(call, target)
        if call.is_preflight:
            return self._own_answers.answer_preflight(call, match.route)
        session_id = self._identify(call, match.route)
        checked_body = self._check_call(call, match.route, session_id)
        body = self._enforcer.check(call, match, target, checked_body)
        token = self._get_token(call, match.route)
        headers = self._backend_lines.build(call, match, token)
        upstream = self._open_upstream(call, match, target, headers, body, token)
        return self._answer(call, match, upstream)

    def read_head(self, lines: HeaderLines, peer_address: str) -> HeadFacts:
        """Returns what header lines say, for a door that remembers it."""
        return self._heads.read(lines, peer_address)

    def _begin(self, request: ProxyRequest) -> Call:
        facts = request.facts or self._heads.read(request.headers, request.peer_address)
        call = Call(
            request=request,
            facts=facts,
            is_preflight=request.method == "OPTIONS"
            and is_preflight(request.method, facts.metadata.origin, facts.headers.get("access-control-request-method")),
            request_id=facts.correlation_id or make_request_id(),
            traceparent=facts.traceparent or make_traceparent(),
            own_origin=facts.own_origin or self._policy.origins.main,
            received_at=self._clock(),
            started_at=self._monotonic(),
            has_passed_before=request.precedent is not None and request.precedent.has_passed,
        )
        self._recorder.begin(call)
        return call

    # Step 1

    def _read_target(self, call: Call) -> RequestTarget:
        if not call.has_passed_before:
            check_unrepeated_headers(call.headers)
            self._heads.require_origin(call.facts)
        claim = call.request.claim
        call.target = claim.target if claim is not None else parse_request_target(call.request.raw_target)
        return call.target

    # Step 2

    def _match_route(self, call: Call, target: RequestTarget) -> RouteMatch:
        claim = call.request.claim
        if claim is not None and call.has_passed_before:
            call.route = claim.match.route
            return claim.match
        if claim is None and is_own_path(target.path):  # the table claims none of those
            raise _refuse_own_path(target.path)
        match = claim.match if claim is not None else self._routes.match(target.path)
        check_target_fits_route(target, match, self._routes)
        if match is None:
            raise RouteNotFoundError
        call.route = match.route
        if call.request.method not in match.route.methods and not call.is_preflight:
            raise MethodNotAllowedError(sorted(match.route.methods))
        call.handshake = self._find_handshake(call, match.route)
        return match

    def _find_handshake(self, call: Call, route: Route) -> Handshake | None:
        """A handshake where none is expected is refused: whoever sends it waits for a 101 and nothing else."""
        handshake = find_handshake(call.headers) if call.headers.get("upgrade") is not None else None
        if handshake is None:
            return None
        if not route.websocket or call.request.method != "GET" or call.request.body is not None:
            raise BadRequestError("There is no WebSocket at this address.")
        if not call.request.can_tunnel:
            raise BadRequestError("A WebSocket needs a connection of its own, in HTTP/1.1.")
        return handshake

    # Step 3

    def _identify(self, call: Call, route: Route) -> str | None:
        """Returns the session's id on a session route, None on any other."""
        if route.auth == "none":
            return None
        if route.auth == "bearer":
            caller = self._bearers.authenticate(call.headers.get("authorization"))
            call.identity, call.presented_token, call.admitted_until = caller.identity, caller.token, caller.ends_at
            return None
        session_id = self._heads.find_session_id(call.facts)
        if session_id is None:
            raise NotAuthenticatedError
        call.session_key = self._find_session_key(call.facts, session_id)
        call.session = self._sessions.find_by_key(call.session_key) if call.session_key is not None else None
        if call.session is None:
            raise SessionExpiredError
        call.facts.has_session = True
        call.identity = build_identity(call.session)
        if call.request.precedent is not None:
            call.caller_precedent = call.request.precedent.for_scope(call.identity.decision_scope)
        if route.max_age_seconds or route.acr_values:
            self._check_authentication(call.session, route)
        return session_id

    def _find_session_key(self, facts: HeadFacts, session_id: str) -> str | None:
        if facts.session_key is None:
            facts.session_key = self._sessions.find_key(session_id)
        return facts.session_key

    def _check_authentication(self, session: SessionRecord, route: Route) -> None:
        check_authentication(
            session.auth_time,
            session.acr,
            max_age_seconds=route.max_age_seconds,
            acr_values=route.acr_values,
            now=self._clock(),
            leeway_seconds=self._policy.clock_skew_seconds,
        )

    # Step 4

    def _check_call(self, call: Call, route: Route, session_id: str | None) -> LimitedBody | None:
        """Cross-site rule, CSRF token, size, limits. Only a call that passes counts as activity of its session."""
        request = call.request
        if not call.has_passed_before:
            self._check_sender(call, route, session_id)
        body = LimitedBody(request.body, route.max_body_bytes, call) if request.body is not None else None
        if self._limits is not None:
            self._limits.check(route, call.client_address, call.identity)
        if session_id is not None and call.session is not None:
            self._sessions.touch(session_id, call.session)
        return body

    def _check_sender(self, call: Call, route: Route, session_id: str | None) -> None:
        """The last of the checks that look at nothing but the head."""
        # A program without a cookie need not say where it comes from, but a page of another origin is refused (B3).
        if call.handshake is not None and (session_id is not None or call.metadata.origin is not None):
            check_websocket_origin(
                call.metadata.origin, own_origin=call.own_origin.url, allow_origins=self._policy.allowed_origins
            )
        if session_id is not None:
            self._heads.check_cross_site(call.facts, call.request.method, call.own_origin, route)
            check_csrf_token(call.request.method, session_id, call.headers.get("x-csrf-token"))
        if call.request.precedent is not None:
            call.request.precedent.has_passed = True

    # Step 6

    def _get_token(self, call: Call, route: Route) -> AccessToken | None:
        if route.service.token.mode == "user" and call.presented_token is not None:
            return call.presented_token
        return self._tokens.get(route.service, call.session_key)

    # Step 8

    def _open_upstream(
        self,
        call: Call,
        match: RouteMatch,
        target: RequestTarget,
        headers: bytes,
        body: RequestBody | None,
        token: AccessToken | None,
    ) -> UpstreamResponse:
        route, claim = match.route, call.request.claim
        request = UpstreamRequest(
            method=call.request.method,
            target=claim.upstream_target if claim is not None else self._build_upstream_target(match, target),
            encoded_headers=headers,
            body=body,
            asks_for_websocket=call.handshake is not None,
            streaming=route.streaming,
        )
        asked_at = self._monotonic()
        try:
            if isinstance(token, BoundToken):
                return self._bound_calls.open(route.service, request, token)
            return self._upstream.open(route.service, request)
        finally:
            call.upstream_seconds = self._monotonic() - asked_at

    def _build_upstream_target(self, match: RouteMatch, target: RequestTarget) -> str:
        return build_upstream_target(match, target, self._base_paths[match.route.service.name])

    # Step 9

    def _answer(self, call: Call, match: RouteMatch, upstream: UpstreamResponse) -> ProxyResponse:
        try:
            if upstream.status == _SWITCHING_PROTOCOLS and call.handshake is not None:
                check_switch(call.handshake, upstream.headers)
            headers = build_answer_headers(
                upstream.headers,
                route=match.route,
                correlation_id=call.request_id,
                map_location=partial(map_location, match=match, table=self._routes),
                session_cookie=self._policy.session_cookie,
                cors_lines=self._own_answers.build_cors_lines(call),
            )
        except BaseException:
            upstream.close()
            raise
        if upstream.status == _SWITCHING_PROTOCOLS:
            return self._switch(call, headers, upstream)

        response = ProxyResponse(
            upstream.status,
            upstream.reason,
            headers,
            AnswerBody(upstream, call),
            partial(self._end, call, upstream),
            has_piece_at_hand=upstream.has_piece_at_hand,
            is_whole_at_hand=upstream.is_whole_at_hand,
        )
        if not response.is_whole_at_hand:
            try:
                self._follow(call, match.route, upstream, response)
            except BaseException:
                upstream.close()
                raise
        return response

    def _end(self, call: Call, upstream: UpstreamResponse) -> None:
        upstream.close()
        self._recorder.end(call, upstream.status)

    def _follow(self, call: Call, route: Route, upstream: UpstreamResponse, response: ProxyResponse) -> None:
        """For an answer that is still to come: it ends with what let it in, a stream when its client goes away, and a
        stream of events when the worker stops."""

        def close() -> None:
            stop_watch()
            self._event_streams.forget(response.body)
            response.cut_client = do_nothing  # what comes next on that connection is another call
            self._end(call, upstream)

        def break_off() -> None:
            call.is_broken_off = True
            upstream.close()

        def end_with_admission(code: str) -> None:
            """The client sees a broken answer, asks again, and is told the same code."""
            call.error_code = code
            upstream.close()
            response.cut_client()

        response.close = close
        response.break_off = break_off if route.streaming else None
        stop_watch = self._watch_admission(call, end_with_admission)
        if is_event_stream(call.request.method, upstream.headers):
            response.body = self._event_streams.follow(response.body, break_off)

    def _watch_admission(self, call: Call, end: Callable[[str], None]) -> Callable[[], None]:
        """Has `end` called, with the code of what is over, when what let the call in ends before its answer; returns
        what stops that."""
        if call.session_key is not None:
            return self._session_watch.begin(call.session_key, partial(end, SessionExpiredError.code))
        if call.admitted_until is not None:
            return self._time_watch.begin(call.admitted_until, partial(end, TokenInvalidError.code))
        return do_nothing

    def _switch(self, call: Call, headers: HeaderLines, upstream: UpstreamResponse) -> ProxyResponse:
        """The handshake stands: from here on the two ends speak with each other."""
        backend, at_hand = upstream.take_tunnel()
        tunnel = Tunnel(backend, at_hand, call, stall_seconds=self._policy.stall_seconds, monotonic=self._monotonic)
        stop_watch = self._watch_admission(call, tunnel.end_with_admission)
        self._tunnels.add(tunnel)

        def close() -> None:
            stop_watch()
            self._tunnels.remove(tunnel)
            upstream.close()
            self._recorder.end(call, upstream.status)

        lines = [line for line in headers if line[0].lower() not in ("content-length", "cache-control")]
        lines += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        return ProxyResponse(upstream.status, upstream.reason, lines, close=close, tunnel=tunnel.run)


def _refuse_own_path(path: str) -> BffError:
    """Our own endpoints win over every wildcard, also with a method or below a path that they do not serve."""
    methods = OWN_ENDPOINTS.get(path)
    return MethodNotAllowedError(sorted(methods)) if methods else RouteNotFoundError()
