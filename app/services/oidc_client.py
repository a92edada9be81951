"""The BFF as an OpenID Connect client: it sends, and leaves building and judging to its neighbours.

`oidc_requests` builds what is sent, `oidc_answers` and `oidc_callback` judge what comes back, `oidc_metadata` and
`oidc_keys` keep the provider's documents, `core/id_token` judges claims. Errors that leave this module are refusals
from `core/errors`; their `internal_reason` says what happened without repeating a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from app.core.errors import (
    BadRequestError,
    BffError,
    IdpUnavailableError,
    LoginFailedError,
    ServiceTokenUnavailableError,
    StoreUnavailableError,
)
from app.core.id_token import (
    IdTokenClaimError,
    IdTokenExpectation,
    check_access_token_hash,
    check_id_token_claims,
)
from app.core.logout_token import (
    LogoutToken,
    LogoutTokenError,
    LogoutTokenExpectation,
    check_logout_token_type,
    parse_logout_token,
)
from app.core.signed_answer import SignedAnswerError, check_signed_answer_claims
from app.services import oidc_requests
from app.services.client_assertion import AssertionSigner
from app.services.control_http import ControlAnswer, ControlHttp, ControlUnreachableError
from app.services.dpop_exchange import DpopExchange
from app.services.dpop_key import BoundToken, DpopKey
from app.services.key_store import SigningKey
from app.services.oidc_answers import (
    DPOP,
    AnswerRefusedError,
    IdpFailingError,
    OAuthRefusalError,
    TokenAnswer,
    check_success,
    parse_pushed_request_answer,
    parse_token_answer,
    parse_userinfo_answer,
)
from app.services.oidc_callback import CallbackParameters, build_verified_parameters
from app.services.oidc_client_auth import (
    AuthenticatedRequest,
    ClientAuthenticator,
    Parameters,
    build_client_authenticator,
)
from app.services.oidc_keys import Jwk, KeySource, SignatureRefusedError, parse_signed_token
from app.services.oidc_metadata import MetadataSource, ProviderMetadata
from app.services.oidc_requests import AuthorizationRequest
from app.settings.schema.settings_file import OidcSettings

ANSWER_ERRORS = (ControlUnreachableError, AnswerRefusedError, IdpFailingError, OAuthRefusalError)


class OidcClient:
    """Every exchange with the identity provider. Holds no state but the provider's cached documents."""

    def __init__(
        self,
        settings: OidcSettings,
        *,
        http: ControlHttp,
        clock: Callable[[], float],
        allow_http: bool,
        get_signing_key: Callable[[], SigningKey] | None = None,
        get_client_id: Callable[[], str] | None = None,
    ) -> None:
        """`get_signing_key` is for `oidc.client_auth: private_key_jwt`, which does not work without. `get_client_id` is
        asked for every exchange, for a client that registers itself; it raises `IdpUnavailableError` while there is
        none. Without it, it is `oidc.client_id`."""
        self._settings = settings
        self._http = http
        self._clock = clock
        self._get_signing_key = get_signing_key
        self._get_client_id = get_client_id or (lambda: settings.client_id)
        self._dpop = DpopExchange(timeout_seconds=settings.timeout_seconds, clock=clock)
        self._metadata = MetadataSource(issuer=settings.issuer, http=http, clock=clock, allow_http=allow_http)
        self._keys = KeySource(http=http, clock=clock, get_jwks_uri=lambda: self.get_metadata().jwks_uri)
        # Anybody may send logout tokens with invented key ids; the looks for new keys that logins need are not theirs.
        self._logout_keys = KeySource(http=http, clock=clock, get_jwks_uri=lambda: self.get_metadata().jwks_uri)

    @property
    def issuer(self) -> str:
        """Which provider this is."""
        return self._settings.issuer

    def get_metadata(self) -> ProviderMetadata:
        """Returns the provider's metadata; raises `IdpUnavailableError` while there is none."""
        return self._metadata.get()

    def find_metadata(self) -> ProviderMetadata | None:
        """Returns the provider's metadata if it can be had without asking the provider."""
        return self._metadata.find_cached()

    def get_keys(self) -> tuple[Jwk, ...]:
        """Returns the keys that the provider publishes; raises `IdpUnavailableError` while there are none to be had."""
        return self._keys.get()

    def authenticate(self, form: Parameters, endpoint: str) -> AuthenticatedRequest:
        """Adds the BFF's own client authentication to a request to any endpoint of the provider."""
        return self._build_authenticator().authenticate(form, endpoint)

    def fetch_authorization_url(self, request: AuthorizationRequest) -> str:
        """Returns where to send the browser, after pushing the request there if that is to be done (RFC 9126)."""
        metadata = self.get_metadata()
        parameters = oidc_requests.build_authorization_parameters(
            request,
            client_id=self._get_client_id(),
            scope=" ".join(self._settings.scopes),
            resources=self._settings.resources,
            response_mode=self._settings.response_mode,
        )
        if not self._uses_pushed_requests(metadata):
            return oidc_requests.build_authorization_url(metadata.authorization_endpoint, parameters)
        try:
            answer = self._post(metadata.pushed_authorization_request_endpoint, parameters)
            request_uri = parse_pushed_request_answer(answer)
        except ANSWER_ERRORS as error:
            raise _refuse_login("pushed request", error) from error
        return oidc_requests.build_pushed_authorization_url(
            metadata.authorization_endpoint, self._get_client_id(), request_uri
        )

    def verify_callback(self, parameters: CallbackParameters) -> CallbackParameters:
        """Returns the callback's parameters to be acted upon: of a signed answer (JARM) what it says, once it was found
        good in every respect; raises `LoginFailedError` if it was not. Another answer is as it is."""
        if parameters.unverified_response is None:
            return parameters
        try:
            verified = self._keys.verify(parameters.unverified_response)
            check_signed_answer_claims(
                verified.claims,
                issuer=self._settings.issuer,
                client_id=self._get_client_id(),
                state=parameters.state,
                now=self._clock(),
                leeway_seconds=self._settings.clock_skew_seconds,
            )
        except (SignatureRefusedError, SignedAnswerError) as error:
            raise LoginFailedError(internal_reason=f"signed answer: {error}") from error
        return build_verified_parameters(verified.claims, parameters.state)

    def exchange_code(
        self, code: str, *, redirect_uri: str, code_verifier: str, dpop_key: DpopKey | None = None
    ) -> TokenAnswer:
        """Spends an authorization code. Never sent twice: a code is good for one use (RFC 6749 §4.1.2), and a provider
        that asks for a nonce has not looked at it."""
        try:
            return self._request_token(oidc_requests.build_code_exchange(code, redirect_uri, code_verifier), dpop_key)
        except ANSWER_ERRORS as error:
            raise _refuse_login("code exchange", error) from error

    def verify_id_token(
        self, unverified_id_token: str, *, nonce: str, access_token: str, max_age_seconds: int | None = None
    ) -> dict[str, object]:
        """Returns the claims of an ID token that is good in every respect; raises `LoginFailedError` if it is not."""
        expected = self._build_expectation(nonce=nonce, max_age_seconds=max_age_seconds)
        try:
            verified = self._keys.verify(unverified_id_token)
            check_id_token_claims(verified.claims, expected)
            check_access_token_hash(verified.claims, verified.algorithm, access_token)
        except (SignatureRefusedError, IdTokenClaimError) as error:
            raise LoginFailedError(internal_reason=f"ID token: {error}") from error
        return verified.claims

    def fetch_userinfo(
        self, token: str | BoundToken, expected_subject: str, *, total_seconds: float | None = None
    ) -> dict[str, object]:
        """Returns UserInfo claims about `expected_subject` and nobody else; raises `LoginFailedError` or
        `IdpUnavailableError`."""
        endpoint = self.get_metadata().userinfo_endpoint
        if not endpoint:
            raise LoginFailedError(internal_reason="userinfo: the provider has no such endpoint")
        try:
            return parse_userinfo_answer(self._get_resource(endpoint, token, total_seconds), expected_subject)
        except ANSWER_ERRORS as error:
            raise _refuse_login("userinfo", error) from error

    def fetch_client_credentials_token(
        self, audience: str, scope: str, *, dpop_key: DpopKey | None = None
    ) -> TokenAnswer:
        """Returns a token of the BFF's own; raises `IdpUnavailableError` or `ServiceTokenUnavailableError`."""
        form = oidc_requests.build_client_credentials_request(audience, scope, self._settings.audience_parameter)
        try:
            return self._request_token(form, dpop_key)
        except (ControlUnreachableError, IdpFailingError) as error:
            raise IdpUnavailableError(internal_reason=f"client credentials: {error}") from error
        except (AnswerRefusedError, OAuthRefusalError) as error:
            raise ServiceTokenUnavailableError(internal_reason=f"client credentials: {error}") from error

    def refresh(
        self, refresh_token: str, *, audience: str = "", scope: str = "", dpop_key: DpopKey | None = None
    ) -> TokenAnswer:
        """Spends a refresh token. Raises `OAuthRefusalError` for a refusal that could be read, else
        `IdpUnavailableError`: an answer that makes no sense says nothing about the grant."""
        form = oidc_requests.build_refresh_request(refresh_token, audience, scope, self._settings.audience_parameter)
        return self._request_user_token("refresh", form, dpop_key)

    def exchange_token(
        self, subject_token: str, *, audience: str, scope: str, dpop_key: DpopKey | None = None
    ) -> TokenAnswer:
        """Trades the user's access token for one for `audience` (RFC 8693); raises as `refresh`."""
        parameter = self._settings.audience_parameter
        form = oidc_requests.build_token_exchange_request(subject_token, audience, scope, parameter)
        return self._request_user_token("token exchange", form, dpop_key)

    def verify_refreshed_id_token(
        self, unverified_id_token: str, *, subject: str, access_token: str
    ) -> dict[str, object]:
        """Returns the claims of an ID token that came with a refresh, if it is good and speaks of the same user (OIDC
        Core §12.2).

        Raises `IdTokenTimeError` when only its times are wrong, else `IdTokenClaimError` or `SignatureRefusedError`.
        """
        verified = self._keys.verify(unverified_id_token)
        check_access_token_hash(verified.claims, verified.algorithm, access_token)
        if verified.claims.get("sub") != subject:
            raise IdTokenClaimError("sub is not the user of this session")
        check_id_token_claims(verified.claims, self._build_expectation(nonce=None, max_age_seconds=None))
        return verified.claims

    def verify_logout_token(self, unverified_logout_token: str) -> LogoutToken:
        """Returns what a logout token says that is good in every respect but for being new (its `jti`).

        Raises `BadRequestError` if it is not, `IdpUnavailableError` when the provider's keys cannot be had.
        """
        allows_untyped = self._settings.allow_untyped_logout_token
        expected = LogoutTokenExpectation(
            issuer=self._settings.issuer,
            client_id=self._get_client_id(),
            now=self._clock(),
            leeway_seconds=self._settings.clock_skew_seconds,
            allows_untyped=allows_untyped,
        )
        try:
            token_type = parse_signed_token(unverified_logout_token).token_type
            check_logout_token_type(token_type, allows_untyped=allows_untyped)  # before keys are looked for
            verified = self._logout_keys.verify(unverified_logout_token)
            return parse_logout_token(verified.claims, verified.token_type, expected)
        except (SignatureRefusedError, LogoutTokenError) as error:
            raise BadRequestError("The logout token is not accepted.", internal_reason=str(error)) from error

    def revoke(self, token: str, token_type_hint: str, *, total_seconds: float) -> bool:
        """Asks the provider to revoke a token (RFC 7009), best effort: tells whether it did, and never raises."""
        try:
            endpoint = self.get_metadata().revocation_endpoint
            if not endpoint:
                return False
            form = (("token", token), ("token_type_hint", token_type_hint))
            check_success(self._post(endpoint, form, total_seconds=total_seconds), statuses=(200, 204))
        except (IdpUnavailableError, StoreUnavailableError, *ANSWER_ERRORS):
            return False
        return True

    def build_end_session_url(self, *, id_token_hint: str, post_logout_redirect_uri: str, state: str) -> str | None:
        """Returns where the provider ends its own session, or None when it has no such endpoint."""
        metadata = self.get_metadata()
        if not metadata.end_session_endpoint:
            return None
        return oidc_requests.build_end_session_url(
            metadata,
            client_id=self._get_client_id(),
            id_token_hint=id_token_hint,
            post_logout_redirect_uri=post_logout_redirect_uri,
            state=state,
        )

    def _build_authenticator(self) -> ClientAuthenticator:
        """Built for each request: which client this is may change while the process lives."""
        settings, client_id = self._settings, self._get_client_id()
        signer = self._get_signing_key and AssertionSigner(
            client_id=client_id,
            audience=settings.assertion_audience,
            issuer=settings.issuer,
            get_token_endpoint=lambda: self.get_metadata().token_endpoint,
            get_signing_key=self._get_signing_key,
            clock=self._clock,
        )
        return build_client_authenticator(
            settings.client_auth,
            client_id,
            settings.client_secret.get_secret_value(),
            signer.sign if signer else None,
        )

    def _uses_pushed_requests(self, metadata: ProviderMetadata) -> bool:
        if self._settings.par == "off":
            if metadata.requires_pushed_authorization_requests:
                raise IdpUnavailableError(internal_reason="oidc.par is off, and the provider takes nothing else")
            return False
        if metadata.pushed_authorization_request_endpoint:
            return True
        if self._settings.par == "required":
            raise IdpUnavailableError(internal_reason="oidc.par is required, and the provider does not offer it")
        return False

    def _build_expectation(self, *, nonce: str | None, max_age_seconds: int | None) -> IdTokenExpectation:
        return IdTokenExpectation(
            issuer=self._settings.issuer,
            client_id=self._get_client_id(),
            nonce=nonce,
            now=self._clock(),
            leeway_seconds=self._settings.clock_skew_seconds,
            max_age_seconds=max_age_seconds,
        )

    def _request_user_token(self, step: str, form: Parameters, dpop_key: DpopKey | None) -> TokenAnswer:
        try:
            return self._request_token(form, dpop_key)
        except (ControlUnreachableError, IdpFailingError, AnswerRefusedError) as error:
            raise IdpUnavailableError(internal_reason=f"{step}: {error}") from error

    def _request_token(self, form: Parameters, dpop_key: DpopKey | None) -> TokenAnswer:
        """With a key: a token that is bound to it, and no other (RFC 9449 §5)."""
        endpoint = self.get_metadata().token_endpoint
        if dpop_key is None:
            return parse_token_answer(self._post(endpoint, form))
        answer = self._dpop.post(
            endpoint,
            dpop_key,
            lambda proof, seconds: self._post(endpoint, form, total_seconds=seconds, headers=proof),
        )
        return parse_token_answer(answer, token_type=DPOP)

    def _post(
        self,
        endpoint: str,
        form: Parameters,
        *,
        total_seconds: float | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> ControlAnswer:
        request = self.authenticate(form, endpoint)
        return self._http.fetch(
            "POST", endpoint, headers={**request.headers, **headers}, form=request.form, total_seconds=total_seconds
        )

    def _get_resource(self, url: str, token: str | BoundToken, total_seconds: float | None) -> ControlAnswer:
        """`total_seconds` is for each attempt: a bound token may need a second, with the nonce that the first gave."""
        if isinstance(token, str):
            bearer = {"Authorization": f"Bearer {token}"}
            return self._http.fetch("GET", url, headers=bearer, total_seconds=total_seconds)

        def send(lines: dict[str, str], remaining_seconds: float) -> ControlAnswer:
            seconds = remaining_seconds if total_seconds is None else min(remaining_seconds, total_seconds)
            return self._http.fetch("GET", url, headers=lines, total_seconds=seconds)

        return self._dpop.get_resource(url, token, send)


def _refuse_login(step: str, error: Exception) -> BffError:
    """A provider that is away is 503; one that answered, and not as it should, ends this login."""
    reason = f"{step}: {error}"
    if isinstance(error, ControlUnreachableError | IdpFailingError):
        return IdpUnavailableError(internal_reason=reason)
    return LoginFailedError(internal_reason=reason)
