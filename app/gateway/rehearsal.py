"""A call as the pipeline would carry it, stopped where it would go to the backend: what `bff routes explain` tells.

The pipeline itself runs, so nothing here judges a call. Only the machines that it would speak with are stood in for:
the sessions know one user, any token is `***`, the backends note what they would get, and the decision point notes the
question and is asked only where it is given. Nothing is kept, counted or audited.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from app.core.access_token import parse_bearer_token
from app.core.cross_site import build_csrf_token
from app.core.errors import BffError, InternalError
from app.core.headers import HeaderView
from app.core.identity import Identity
from app.core.routes import RouteMatch, Service
from app.gateway.bodies import ReadBody
from app.gateway.call import Call
from app.gateway.enforcement import Enforcer
from app.gateway.event_streams import EventStreams
from app.gateway.messages import HeaderLines, ProxyRequest, do_nothing
from app.gateway.pipeline import Pipeline
from app.gateway.policy import GatewayPolicy
from app.gateway.websocket import Tunnels
from app.services.authorization import build_path_mapper, build_question_policy
from app.services.authorizer import Authorizer, DecisionPoint
from app.services.bearer_authenticator import BearerCaller, build_caller_identity
from app.services.dpop_key import AccessToken, BoundToken, generate_dpop_key
from app.services.enforcement_switch import EnforcementSwitch
from app.services.login_flow import build_new_session
from app.services.oidc_claims import ClaimSelection
from app.services.path_mapper import MappedCall
from app.services.pdp_answers import Decision
from app.services.permission_guard import PermissionGuard
from app.services.session_store import SessionRecord
from app.services.session_store.record import build_session_record
from app.services.upstream_client import UpstreamRequest, UpstreamResponse, build_attempt_head
from app.services.upstream_connection import parse_origin
from app.services.upstream_upload import begin_upload
from app.settings import Configuration

MASK = "***"
"""Stands for every token."""
_SESSION_ID = "A" * 43
_PRESENTED_TOKEN = "rehearsed"  # noqa: S105 - opens nothing
_SESSION_REFERENCE = "rehearsed-session"


@dataclass(frozen=True, slots=True)
class RehearsedCall:
    """A call as somebody describes it. `raw_target` as in `ProxyRequest`."""

    method: str
    raw_target: str
    headers: HeaderLines
    body: bytes | None
    claims: Mapping[str, object]
    """Of the ID token, or on a bearer route of the access token."""
    client_address: str


@dataclass(frozen=True, slots=True)
class BackendRequest:
    """What the backend would get."""

    url: str
    head: bytes
    """Request line and header lines, as they go over the wire."""


@dataclass(slots=True)
class Rehearsal:
    """What became of the call, as far as it came."""

    call: Call
    match: RouteMatch | None = None
    mapped: MappedCall | None = None
    question: bytes | None = None
    """The very bytes that the decision point gets."""
    decision: Decision | None = None
    """None: it was not asked."""
    backend_request: BackendRequest | None = None
    refusal: BffError | None = None
    answer_status: int | None = None
    """Of an answer that is the BFF's own, refusals included."""


class Rehearser:
    """Rehearses calls with one configuration. Asks `decision_point`, where one is given; else a question is allowed."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        decision_point: DecisionPoint | None = None,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._configuration = configuration
        self._decision_point = decision_point
        self._clock = clock
        self._monotonic = monotonic
        self._policy = GatewayPolicy.from_settings(configuration.settings)
        self._mapper = build_path_mapper(configuration)

    def rehearse(self, described: RehearsedCall) -> Rehearsal:
        """Raises `LoginFailedError` where nobody could have logged in with these claims."""
        notes = _Notes()
        pipeline = self._build_pipeline(described.claims, notes)
        request = self._build_request(described)
        answer_status = None
        with suppress(_AtTheBackend):
            answer_status = pipeline.handle(request).status
        call = notes.require_call()
        match = self._configuration.route_table.match(call.target.path) if call.target and call.route else None
        return Rehearsal(
            call=call,
            match=match,
            mapped=self._find_mapping(call, match),
            question=notes.question,
            decision=notes.decision,
            backend_request=notes.backend_request,
            refusal=notes.refusal,
            answer_status=answer_status,
        )

    def _find_mapping(self, call: Call, match: RouteMatch | None) -> MappedCall | None:
        """Also where the call was refused before step 5."""
        if match is None or call.target is None or match.route.authz == "none":
            return None
        try:
            return self._mapper.map_call(match, call.request.method, call.target.path)
        except BffError:
            return None

    def _build_pipeline(self, claims: Mapping[str, object], notes: _Notes) -> Pipeline:
        configuration = self._configuration
        return Pipeline(
            policy=self._policy,
            route_table=configuration.route_table,
            sessions=_OneSession(self._build_session(claims)),
            bearers=_OneCaller(self._build_caller(claims)),
            enforcer=Enforcer(
                mapper=self._mapper,
                guard=PermissionGuard(
                    policy=build_question_policy(configuration.pdp),
                    authorizer=Authorizer(
                        _NotingDecisionPoint(notes, self._decision_point),
                        cache=None,
                        get_epoch=str,
                        max_batch=1,
                        count=_ignore,
                        monotonic=self._monotonic,
                    ),
                    clock=self._clock,
                    monotonic=self._monotonic,
                    record=_ignore,
                ),
                switch=EnforcementSwitch(
                    is_on=configuration.settings.pdp.enabled, count=_ignore, monotonic=self._monotonic
                ),
                monotonic=self._monotonic,
            ),
            tokens=_MaskedTokens(binds_user_tokens=configuration.settings.oidc.dpop),
            upstream=_NotingUpstream(notes),
            recorder=_NotingRecorder(notes),
            session_watch=_NobodyEnds(),
            time_watch=_NobodyEnds(),
            tunnels=Tunnels(),
            event_streams=EventStreams(),
            limits=None,
            clock=self._clock,
            monotonic=self._monotonic,
        )

    def _build_session(self, claims: Mapping[str, object]) -> SessionRecord:
        selection = ClaimSelection.from_configuration(self._configuration)
        login = build_new_session(self._configuration.settings.oidc, selection, claims, "")
        return build_session_record(login, reference=_SESSION_REFERENCE, now=self._clock())

    def _build_caller(self, claims: Mapping[str, object]) -> Identity | None:
        """By the entry of `idps.yaml` that the claims name, else by the first."""
        entries = self._configuration.idps
        if not entries:
            return None
        entry = next((entry for entry in entries if entry.issuer == claims.get("iss")), entries[0])
        return build_caller_identity(entry, claims, self._configuration.pdp.subject_claims)

    def _build_request(self, described: RehearsedCall) -> ProxyRequest:
        main = self._policy.origins.main
        given = HeaderView(described.headers)
        lines = [line for line in described.headers if line[0].lower() != "cookie"]
        cookies = [*given.get_all("cookie"), f"{self._policy.session_cookie}={_SESSION_ID}"]
        lines += [("Cookie", value) for value in _join_single(cookies)]
        usual = {
            "Host": main.host,
            "X-CSRF-Token": build_csrf_token(_SESSION_ID),
            "Authorization": f"Bearer {_PRESENTED_TOKEN}",
            **({"Content-Type": "application/json"} if described.body is not None else {}),
        }
        lines += [(name, value) for name, value in usual.items() if given.get(name) is None]
        return ProxyRequest(
            method=described.method,
            raw_target=described.raw_target,
            headers=lines,
            body=None if described.body is None else ReadBody(described.body),
            peer_address=described.client_address,
            peer_scheme=main.scheme,
            can_tunnel=True,
        )


@dataclass(slots=True)
class _Notes:
    call: Call | None = None
    question: bytes | None = None
    decision: Decision | None = None
    backend_request: BackendRequest | None = None
    refusal: BffError | None = None

    def require_call(self) -> Call:
        if self.call is None:
            raise ValueError("the pipeline has seen no call")
        return self.call


class _AtTheBackend(BaseException):
    """Ends a rehearsal where the call would leave the BFF. No Exception: nobody on the way may take it for a fault."""


@dataclass(frozen=True, slots=True)
class _OneSession:
    record: SessionRecord

    def find_key(self, session_id: str) -> str | None:
        return session_id

    def find_by_key(self, key: str) -> SessionRecord | None:
        return self.record if key == _SESSION_ID else None

    def touch(self, session_id: str, record: SessionRecord) -> None:
        """The user is made up; nothing is slid."""


@dataclass(frozen=True, slots=True)
class _OneCaller:
    identity: Identity | None

    def authenticate(self, authorization: str | None) -> BearerCaller:
        parse_bearer_token(authorization)
        if self.identity is None:
            raise InternalError(internal_reason="idps.yaml names nobody whose tokens are taken")
        return BearerCaller(self.identity, MASK)


@dataclass(frozen=True, slots=True)
class _MaskedTokens:
    binds_user_tokens: bool

    def get(self, service: Service, session_key: str | None) -> AccessToken | None:  # noqa: ARG002
        token = service.token
        if token.mode == "none":
            return None
        is_bound = self.binds_user_tokens if token.mode == "user" else token.is_bound
        return BoundToken(MASK, generate_dpop_key()) if is_bound else MASK


@dataclass(frozen=True, slots=True)
class _NotingDecisionPoint:
    notes: _Notes
    asked: DecisionPoint | None

    def evaluate(self, question: bytes, request_id: str) -> Decision:
        self.notes.question = question
        if self.asked is None:
            return Decision(is_allowed=True)
        self.notes.decision = self.asked.evaluate(question, request_id)
        return self.notes.decision

    def evaluate_all(self, questions: Sequence[bytes], request_id: str) -> list[Decision]:
        return [self.evaluate(question, request_id) for question in questions]


@dataclass(frozen=True, slots=True)
class _NotingUpstream:
    notes: _Notes

    def open(self, service: Service, request: UpstreamRequest) -> UpstreamResponse:
        self._note(service, request)

    def _note(self, service: Service, request: UpstreamRequest) -> NoReturn:
        origin = parse_origin(service.base_urls[0])
        head = build_attempt_head(origin, request, begin_upload(request.method, request.body).framing)
        url = f"{origin.scheme}://{origin.host_header}{request.target}"
        self.notes.backend_request = BackendRequest(url, head)
        raise _AtTheBackend


class _NobodyEnds:
    def begin(self, key: object, end: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002
        return do_nothing


@dataclass(frozen=True, slots=True)
class _NotingRecorder:
    notes: _Notes

    def begin(self, call: Call) -> None:
        self.notes.call = call

    def refuse(self, call: Call, error: BffError) -> None:  # noqa: ARG002
        self.notes.refusal = error

    def end(self, call: Call, status: int) -> None:
        """Leaves no record."""


def _join_single(cookies: Sequence[str]) -> list[str]:
    """One line; but several that somebody wrote stay several, and are refused as such."""
    *written, ours = cookies
    return [*written, ours] if len(written) > 1 else ["; ".join([*written, ours])]


def _ignore(*_: object, **__: object) -> None:
    """Counts and audits nothing."""
