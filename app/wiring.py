"""Builds every service once, each from the settings it needs. The only place that knows them all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flask import Flask

from app.gateway.enforcement import Enforcer
from app.gateway.event_streams import EventStreams
from app.gateway.pipeline import Pipeline
from app.gateway.policy import GatewayPolicy
from app.gateway.record import CallRecorder
from app.gateway.websocket import Tunnels
from app.observability import metrics as metrics_module
from app.observability.metrics import Metrics
from app.services.access_token_sources import build_access_token_sources
from app.services.admin_token import AdminToken
from app.services.admission_watch import AdmissionWatch, build_time_look
from app.services.authorization import Authorization, build_authorization
from app.services.backchannel_logout import BackchannelLogout
from app.services.bearer_authenticator import BearerAuthenticator
from app.services.call_limits import CallLimits
from app.services.client_registration import ClientRegistration, build_client_registration
from app.services.control_http import ControlHttp
from app.services.forward_authorizer import ForwardAuthorizer
from app.services.frontend_files import Frontend, build_frontends
from app.services.housekeeping import Housekeeping
from app.services.key_ring import KeyRing, choose_key_file, load_or_create_key_ring
from app.services.key_store import KeyRotation, KeyStore, build_key_store
from app.services.login_flow import LoginFlow
from app.services.logout_flow import LogoutFlow
from app.services.logout_marks import LogoutMarks
from app.services.logout_refusals import LogoutRefusals
from app.services.oidc_claims import ClaimSelection
from app.services.oidc_client import OidcClient
from app.services.own_dpop_key import OwnDpopKey
from app.services.own_sessions import OwnSessions
from app.services.page_authorizer import PageAuthorizer
from app.services.refresh_agenda import RefreshAgenda
from app.services.refreshed_claims import RefreshedClaims
from app.services.session_store import SessionStore
from app.services.session_store.copy_renewal import CopyRenewal
from app.services.session_store.flask_interface import StoreSessionInterface
from app.services.session_tokens import SessionTokens
from app.services.state_store import StateStore
from app.services.state_store.factory import build_state_store
from app.services.token_provider import TokenProvider
from app.services.token_refresher import TokenRefresher
from app.services.token_store import TokenStore
from app.services.token_targets import needs_user_tokens
from app.services.upstream_client import UpstreamClient
from app.settings import Configuration


@dataclass(frozen=True, slots=True)
class Services:
    """What blueprints, hooks and the worker work with; found at `app.extensions["bff"]`."""

    configuration: Configuration
    state_store: StateStore
    key_ring: KeyRing
    key_store: KeyStore
    session_store: SessionStore
    token_store: TokenStore
    oidc_client: OidcClient
    login_flow: LoginFlow
    logout_flow: LogoutFlow
    backchannel_logout: BackchannelLogout
    logout_refusals: LogoutRefusals
    own_sessions: OwnSessions
    token_provider: TokenProvider
    authorization: Authorization
    page_authorizer: PageAuthorizer
    upstream_client: UpstreamClient
    policy: GatewayPolicy
    pipeline: Pipeline
    tunnels: Tunnels
    event_streams: EventStreams
    forward_authorizer: ForwardAuthorizer
    frontends: Mapping[str, Frontend]
    """By `host[:port]` of the origin."""
    housekeeping: Housekeeping
    copy_renewal: CopyRenewal
    key_rotation: KeyRotation
    client_registration: ClientRegistration | None
    """None: the client's id is in the settings."""
    token_refresher: TokenRefresher
    metrics: Metrics
    admin_token: AdminToken
    clock: Callable[[], float]


def build_services(
    configuration: Configuration,
    *,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> Services:
    """Opens the store and the keys; calls no other machine, so that a start succeeds while they are down.

    Raises `KeyFileError`, `KeyStoreError`, `StoreUnavailableError` or `OSError` for files that cannot be used.
    """
    settings = configuration.settings
    metrics = Metrics(metrics_module.shared_directory)
    state_store = build_state_store(settings.session, clock)
    key_ring = load_or_create_key_ring(choose_key_file(settings))
    key_store = build_key_store(settings.keys, state_store=state_store, key_ring=key_ring, clock=clock)
    token_store = TokenStore(
        state_store, key_ring, clock=clock, local_cache_seconds=settings.session.local_cache_seconds
    )
    session_store = SessionStore(
        state_store,
        key_ring,
        settings=settings.session,
        clock=clock,
        issuer=settings.oidc.issuer,
        keep_tokens=token_store.keep_read if any(map(needs_user_tokens, configuration.services.values())) else None,
    )
    idp_http = ControlHttp(timeout_seconds=settings.oidc.timeout_seconds, ca_file=settings.oidc.ca_file)
    client_registration: ClientRegistration | None = None
    if settings.oidc.registers_itself:
        client_registration = build_client_registration(
            configuration,
            state_store=state_store,
            key_ring=key_ring,
            key_store=key_store,
            http=idp_http,
            get_provider=lambda: oidc_client.get_metadata(),
            find_provider=lambda: oidc_client.find_metadata(),
            clock=clock,
            monotonic=monotonic,
        )
    oidc_client = OidcClient(
        settings.oidc,
        http=idp_http,
        clock=clock,
        allow_http=settings.environment == "development",
        get_signing_key=lambda: key_store.current,
        get_client_id=client_registration.get_client_id if client_registration else None,
    )
    refresh_agenda = RefreshAgenda(
        state_store,
        refresh_ahead_seconds=settings.tokens.refresh_ahead_seconds,
        interval_seconds=settings.tokens.sweep_interval_seconds,
        # Longer than a renewal that waits for another worker's and then has to be done after all.
        lease_seconds=settings.oidc.timeout_seconds * 8 + 30,
        clock=clock,
    )
    session_tokens = SessionTokens(
        oidc_client=oidc_client,
        session_store=session_store,
        token_store=token_store,
        state_store=state_store,
        refresh_ahead_seconds=settings.tokens.refresh_ahead_seconds,
        idp_timeout_seconds=settings.oidc.timeout_seconds,
        refreshed_claims=RefreshedClaims(
            oidc_client=oidc_client,
            session_store=session_store,
            selection=ClaimSelection.from_configuration(configuration),
            asks_userinfo=settings.oidc.userinfo,
        ),
        count_refresh=metrics.count_token_refresh,
        count_session_ended=metrics.count_session_ended,
        schedule=refresh_agenda.schedule,
        binds_user_tokens=settings.oidc.dpop,
        clock=clock,
    )
    token_provider = TokenProvider(
        oidc_client=oidc_client,
        token_store=token_store,
        state_store=state_store,
        session_tokens=session_tokens,
        refresh_ahead_seconds=settings.tokens.refresh_ahead_seconds,
        idp_timeout_seconds=settings.oidc.timeout_seconds,
        clock=clock,
        get_own_dpop_key=OwnDpopKey(state_store, key_ring).get,
    )
    logout_marks = LogoutMarks(state_store, clock=clock)
    policy = GatewayPolicy.from_settings(settings)
    authorization = build_authorization(
        configuration,
        state_store=state_store,
        key_ring=key_ring,
        count_decision=metrics.count_decision,
        clock=clock,
        monotonic=monotonic,
    )
    if not authorization.switch.is_on:
        metrics.note_enforcement_off()
    upstream_client = UpstreamClient(configuration.services, monotonic)
    call_limits = CallLimits(
        state_store,
        per_address=settings.limits.per_address,
        routes=configuration.route_table.routes,
        clock=clock,
        count_store_error=metrics.count_store_error,
    )
    tunnels = Tunnels(count=metrics.count_tunnels)
    event_streams = EventStreams()
    return Services(
        configuration=configuration,
        state_store=state_store,
        key_ring=key_ring,
        key_store=key_store,
        session_store=session_store,
        token_store=token_store,
        oidc_client=oidc_client,
        login_flow=LoginFlow(
            configuration,
            oidc_client=oidc_client,
            state_store=state_store,
            key_ring=key_ring,
            session_store=session_store,
            token_store=token_store,
            note_tokens=session_tokens.note_renewal,
            logout_marks=logout_marks,
            clock=clock,
        ),
        logout_flow=LogoutFlow(
            settings,
            oidc_client=oidc_client,
            state_store=state_store,
            key_ring=key_ring,
            session_store=session_store,
            token_store=token_store,
        ),
        backchannel_logout=BackchannelLogout(
            settings.oidc,
            oidc_client=oidc_client,
            state_store=state_store,
            session_store=session_store,
            token_store=token_store,
            marks=logout_marks,
        ),
        logout_refusals=LogoutRefusals(monotonic=monotonic),
        own_sessions=OwnSessions(session_store=session_store, token_store=token_store, oidc_client=oidc_client),
        token_provider=token_provider,
        authorization=authorization,
        page_authorizer=PageAuthorizer(authorization, clock=clock, monotonic=monotonic),
        upstream_client=upstream_client,
        policy=policy,
        tunnels=tunnels,
        event_streams=event_streams,
        pipeline=Pipeline(
            policy=policy,
            route_table=configuration.route_table,
            sessions=session_store,
            bearers=BearerAuthenticator(
                build_access_token_sources(configuration, oidc_client=oidc_client, clock=clock),
                kept_claims=configuration.pdp.subject_claims,
                clock=clock,
            ),
            enforcer=Enforcer(
                mapper=authorization.mapper,
                guard=authorization.guard,
                switch=authorization.switch,
                monotonic=monotonic,
            ),
            tokens=token_provider,
            upstream=upstream_client,
            recorder=CallRecorder(metrics, monotonic),
            session_watch=AdmissionWatch(session_store.see),
            time_watch=AdmissionWatch(build_time_look(clock)),
            tunnels=tunnels,
            event_streams=event_streams,
            limits=call_limits if call_limits.limits_anybody else None,
            clock=clock,
            monotonic=monotonic,
        ),
        forward_authorizer=ForwardAuthorizer(
            session_store=session_store,
            session_tokens=session_tokens,
            authorization=authorization,
            allowed_origins=policy.allowed_origins,
        ),
        frontends=build_frontends(settings),
        housekeeping=Housekeeping(state_store, session_store, interval_seconds=settings.tokens.sweep_interval_seconds),
        copy_renewal=CopyRenewal(
            state_store,
            (session_store.copies, token_store.copies, authorization.epoch.copies),
            max_age_seconds=settings.session.local_cache_seconds,
            clock=clock,
        ),
        key_rotation=KeyRotation(key_store),
        client_registration=client_registration,
        token_refresher=TokenRefresher(
            refresh_agenda,
            renew=session_tokens.renew_due,
            is_worth_renewing=lambda session_key: session_store.find_by_key(session_key) is not None,
            count=metrics.count_background_renewal,
            renew_service_tokens=token_provider.renew_service_tokens,
        ),
        metrics=metrics,
        admin_token=AdminToken.from_settings(settings),
        clock=clock,
    )


def build_session_interface(app: Flask, services: Services) -> StoreSessionInterface:
    return StoreSessionInterface(app, services.session_store, settings=services.configuration.settings)
