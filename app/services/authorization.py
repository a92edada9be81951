"""Everything that takes part in a decision, built once from `routes.yaml`, `pdp.yaml` and the settings."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from app.core.permissions import QuestionPolicy
from app.services.authorizer import Authorizer
from app.services.circuit_breaker import CircuitBreaker
from app.services.control_http import ControlHttp
from app.services.decision_cache import DecisionCache
from app.services.decision_epoch import DecisionEpoch
from app.services.enforcement_switch import EnforcementSwitch
from app.services.key_ring import KeyRing
from app.services.path_mapper import PathMapper
from app.services.pdp_client import PdpClient
from app.services.pdp_credentials import PdpCredentials, build_pdp_credentials
from app.services.pdp_endpoints import PdpEndpointsFinder
from app.services.permission_guard import PermissionGuard
from app.services.shared_decisions import SharedDecisions
from app.services.state_store import StateStore
from app.settings import Configuration
from app.settings.conversion import build_permission_mappings
from app.settings.schema.pdp_file import PdpFile


@dataclass(frozen=True, slots=True)
class Pdp:
    """The decision point as `pdp.yaml` describes it: who asks it, where, and how the BFF shows who it is."""

    client: PdpClient
    endpoints: PdpEndpointsFinder
    credentials: PdpCredentials


@dataclass(frozen=True, slots=True)
class Authorization:
    """What asks and answers whether somebody may do something."""

    switch: EnforcementSwitch
    policy: QuestionPolicy
    mapper: PathMapper
    client: PdpClient
    endpoints: PdpEndpointsFinder
    authorizer: Authorizer
    guard: PermissionGuard
    epoch: DecisionEpoch


def build_authorization(
    configuration: Configuration,
    *,
    state_store: StateStore,
    key_ring: KeyRing,
    count_decision: Callable[[str], None],
    clock: Callable[[], float],
    monotonic: Callable[[], float],
) -> Authorization:
    """Calls no other machine. `count_decision` is told how each question was answered (see `Authorizer`)."""
    settings, pdp = configuration.settings, configuration.pdp
    decision_point = build_pdp(pdp, monotonic)
    epoch = DecisionEpoch(state_store, local_cache_seconds=settings.session.local_cache_seconds, clock=clock)
    policy = build_question_policy(pdp)
    authorizer = Authorizer(
        decision_point.client,
        cache=_build_cache(pdp, monotonic),
        shared=_build_shared(pdp, state_store, key_ring, clock),
        get_epoch=epoch.get,
        max_batch=pdp.max_batch,
        count=count_decision,
        monotonic=monotonic,
    )
    return Authorization(
        switch=EnforcementSwitch(is_on=settings.pdp.enabled, count=count_decision, monotonic=monotonic),
        policy=policy,
        mapper=build_path_mapper(configuration),
        client=decision_point.client,
        endpoints=decision_point.endpoints,
        authorizer=authorizer,
        guard=PermissionGuard(policy=policy, authorizer=authorizer, clock=clock, monotonic=monotonic),
        epoch=epoch,
    )


def build_pdp(pdp: PdpFile, monotonic: Callable[[], float]) -> Pdp:
    """Calls no other machine."""
    http = _build_http(pdp)
    endpoints = PdpEndpointsFinder(pdp.connection.base_url, pdp.endpoints, http=http, monotonic=monotonic)
    credentials = build_pdp_credentials(pdp.connection, http, monotonic)
    return Pdp(_build_client(pdp, http, endpoints, credentials, monotonic), endpoints, credentials)


def build_question_policy(pdp: PdpFile) -> QuestionPolicy:
    return QuestionPolicy(pdp.subject_type, pdp.subject_claims, pdp.context)


def build_path_mapper(configuration: Configuration) -> PathMapper:
    return PathMapper(
        configuration.route_table.routes,
        {path: build_permission_mappings(methods) for path, methods in configuration.pdp.endpoint_map.items()},
        forward_auth=configuration.forward_auth.rules,
        is_default_mapping_enabled=configuration.settings.authz.default_mapping_enabled,
    )


def _build_http(pdp: PdpFile) -> ControlHttp:
    return ControlHttp(
        timeout_seconds=pdp.connection.timeout,
        ca_file=pdp.connection.ca_file,
        is_certificate_checked=pdp.connection.verify_ssl,
        max_connections=64,
    )


def _build_client(
    pdp: PdpFile,
    http: ControlHttp,
    endpoints: PdpEndpointsFinder,
    credentials: PdpCredentials,
    monotonic: Callable[[], float],
) -> PdpClient:
    breaker = pdp.circuit_breaker
    return PdpClient(
        http=http,
        endpoints=endpoints,
        credentials=credentials,
        retry=pdp.retry,
        breaker=CircuitBreaker(
            breaker.failure_threshold if breaker.enabled else 0,
            breaker.reset_timeout,
            monotonic,
            min_outcomes=breaker.min_requests,
        ),
        pause=time.sleep,
        monotonic=monotonic,
    )


def _build_cache(pdp: PdpFile, monotonic: Callable[[], float]) -> DecisionCache | None:
    if not pdp.cache.enabled:
        return None
    return DecisionCache(
        ttl_allow_seconds=pdp.cache.ttl_allow,
        ttl_deny_seconds=pdp.cache.ttl_deny,
        max_size=pdp.cache.max_size,
        monotonic=monotonic,
    )


def _build_shared(
    pdp: PdpFile, state_store: StateStore, key_ring: KeyRing, clock: Callable[[], float]
) -> SharedDecisions | None:
    if not (pdp.cache.enabled and pdp.cache.shared):
        return None
    return SharedDecisions(
        state_store,
        key_ring,
        ttl_allow_seconds=pdp.cache.ttl_allow,
        ttl_deny_seconds=pdp.cache.ttl_deny,
        clock=clock,
    )
