"""Every refusal the BFF can give, as one closed tree of exceptions.

    BffError
    ├── 400  BadRequestError, AmbiguousPathError, UnknownHostError, UnsafeReturnToError,
    │        LoginStateInvalidError, LoginFailedError
    ├── 401  NotAuthenticatedError, SessionExpiredError, InsufficientUserAuthenticationError, TokenInvalidError
    ├── 403  AccessDeniedError, UnmappedError, CsrfFailedError
    ├── 404, 405, 413, 414, 429, 431
    ├── 500  InternalError
    ├── 502  UpstreamUnreachableError, UpstreamBadResponseError
    ├── 503  ServiceTokenUnavailableError, CircuitOpenError, UpstreamBusyError, StoreUnavailableError,
    │        IdpUnavailableError, PdpUnavailableError
    └── 504  UpstreamTimeoutError

A class carries what never varies (`code`, `status`, `title`); an instance carries a sentence for the caller (`detail`),
extra header lines and extra members of the problem document (RFC 9457 §3.2). `detail` reaches the browser: it never
holds a token, a code, a state, a cookie value or an internal address. What only operators may read goes in
`internal_reason`, which is logged and never answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar


class BffError(Exception):
    """A refusal with a stable `code`; answered as problem+json (RFC 9457) in one place."""

    code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(
        self,
        detail: str = "",
        *,
        internal_reason: str = "",
        headers: Sequence[tuple[str, str]] = (),
        members: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.internal_reason = internal_reason
        self.headers = tuple(headers)
        self.members: Mapping[str, object] = members or {}
        self.login_parameters: Sequence[tuple[str, str]] = ()
        """What a login has to ask for so that the call passes after it."""
        self.is_worth_a_redirect = True
        """With a 401: whether a page may be sent to the login without being asked."""


class AmbiguousPathError(BffError):
    code, status, title = "ambiguous_path", 400, "The path can be read in more than one way."


class BadRequestError(BffError):
    code, status, title = "bad_request", 400, "The request is malformed."


class UnknownHostError(BffError):
    code, status, title = "unknown_host", 400, "This host is not served here."


class UnsafeReturnToError(BffError):
    code, status, title = "unsafe_return_to", 400, "The return address is not one of ours."


class LoginStateInvalidError(BffError):
    code, status, title = "login_state_invalid", 400, "This login is unknown, was used already or has run out of time."


class LoginFailedError(BffError):
    code, status, title = "login_failed", 400, "The login did not succeed."


class NotAuthenticatedError(BffError):
    """The request carries no session cookie."""

    code, status, title = "not_authenticated", 401, "You are not logged in."


class SessionExpiredError(BffError):
    """The request carries a session cookie that is unknown or whose session has ended."""

    code, status, title = "session_expired", 401, "Your session has ended."


class InsufficientUserAuthenticationError(BffError):
    """RFC 9470: the session is good but its authentication is too old or too weak for this call.

    What is asked for stands in the challenge (§3) and in the query of `login_url`. The values are from the settings,
    which allow nothing in them that would end a quoted string.
    """

    code, status, title = "insufficient_user_authentication", 401, "This call needs a fresh or stronger login."

    def __init__(
        self, *, max_age_seconds: int = 0, acr_values: Sequence[str] = (), is_login_held_to_it: bool = True
    ) -> None:
        asked = [
            *([("acr_values", " ".join(acr_values))] if acr_values else []),
            *([("max_age", str(max_age_seconds))] if max_age_seconds else []),
        ]
        members = [("error", self.code), ("error_description", self.title), *asked]
        challenge = "Bearer " + ", ".join(f'{name}="{value}"' for name, value in members)
        super().__init__(headers=(("WWW-Authenticate", challenge),))
        self.login_parameters = tuple(asked)
        self.is_worth_a_redirect = is_login_held_to_it
        """A login that may end without what was asked for would send a page round for ever."""


class TokenInvalidError(BffError):
    code, status, title = "token_invalid", 401, "The bearer token is not accepted."


class AccessDeniedError(BffError):
    code, status, title = "access_denied", 403, "You may not do this."


class UnmappedError(BffError):
    code, status, title = "unmapped", 403, "No permission is defined for this call."


class CsrfFailedError(BffError):
    code, status, title = "csrf_failed", 403, "The call was refused by the cross-site check."


class RouteNotFoundError(BffError):
    code, status, title = "route_not_found", 404, "There is nothing at this path."


class MethodNotAllowedError(BffError):
    """RFC 9110 §15.5.6: names the methods that are allowed in `Allow`."""

    code, status, title = "method_not_allowed", 405, "This method is not allowed here."

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(headers=(("Allow", ", ".join(allowed)),))


class BodyTooLargeError(BffError):
    code, status, title = "body_too_large", 413, "The request body is too large."


class UriTooLongError(BffError):
    code, status, title = "uri_too_long", 414, "The request line is too long."


class RateLimitedError(BffError):
    code, status, title = "rate_limited", 429, "Too many requests."

    def __init__(self, detail: str = "", *, retry_after_seconds: int) -> None:
        super().__init__(detail, headers=(("Retry-After", str(retry_after_seconds)),))


class HeadersTooLargeError(BffError):
    code, status, title = "headers_too_large", 431, "The request headers are too large."


class InternalError(BffError):
    code, status, title = "internal_error", 500, "Something went wrong on our side."


class UpstreamUnreachableError(BffError):
    code, status, title = "upstream_unreachable", 502, "The backend service cannot be reached."


class UpstreamBadResponseError(BffError):
    code, status, title = "upstream_bad_response", 502, "The backend service gave an answer that is not HTTP."


class ServiceTokenUnavailableError(BffError):
    code, status, title = "service_token_unavailable", 503, "No token for the backend service can be had right now."


class CircuitOpenError(BffError):
    code, status, title = "circuit_open", 503, "The backend service failed repeatedly and is being left alone."

    def __init__(self, *, retry_after_seconds: int) -> None:
        super().__init__(headers=(("Retry-After", str(retry_after_seconds)),))


class UpstreamBusyError(BffError):
    code, status, title = "upstream_busy", 503, "The backend service has no free connection."


class StoreUnavailableError(BffError):
    """The session store did not answer. Never means "not logged in": the cookie stays."""

    code, status, title = "store_unavailable", 503, "The session store cannot be reached right now."


class IdpUnavailableError(BffError):
    code, status, title = "idp_unavailable", 503, "The identity provider cannot be reached right now."


class PdpUnavailableError(BffError):
    code, status, title = "pdp_unavailable", 503, "The decision point cannot be reached right now."


class UpstreamTimeoutError(BffError):
    code, status, title = "upstream_timeout", 504, "The backend service did not answer in time."
