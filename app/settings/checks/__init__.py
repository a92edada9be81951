"""Checks over several keys. `check_…(draft)` yields what is wrong, `warn_…(draft)` what is only doubtful."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from app.settings.checks.bearer_tokens import check_bearer_tokens, warn_of_bearer_tokens
from app.settings.checks.credentials import (
    check_client,
    check_other_secrets,
    warn_of_registration,
    warn_of_unused_secret,
)
from app.settings.checks.deployment import check_deployment, warn_of_deployment
from app.settings.checks.draft import Draft
from app.settings.checks.forward_auth_entries import check_forward_auth, warn_of_forward_auth
from app.settings.checks.frontend_entries import check_frontends
from app.settings.checks.named_files import check_named_files
from app.settings.checks.permissions import check_permissions, warn_of_permissions
from app.settings.checks.route_entries import check_routes, warn_of_routes
from app.settings.checks.services import check_services, warn_of_services
from app.settings.checks.times import check_times, warn_of_times
from app.settings.findings import Finding

CHECKS: tuple[Callable[[Draft], Iterator[Finding]], ...] = (
    check_deployment,
    check_client,
    check_other_secrets,
    check_times,
    check_named_files,
    check_services,
    check_routes,
    check_permissions,
    check_bearer_tokens,
    check_forward_auth,
    check_frontends,
)

WARNINGS: tuple[Callable[[Draft], Iterator[str]], ...] = (
    warn_of_deployment,
    warn_of_registration,
    warn_of_unused_secret,
    warn_of_times,
    warn_of_services,
    warn_of_routes,
    warn_of_permissions,
    warn_of_bearer_tokens,
    warn_of_forward_auth,
)
