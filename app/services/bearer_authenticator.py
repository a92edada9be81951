"""Step 3 on `auth: bearer` routes: who calls, by the access token in `Authorization` (RFC 6750).

The entry of `idps.yaml` is chosen by the token's issuer and audience, both read before they are believed; only then is
the token checked, by that entry's means alone. What was found good is remembered for a while under the token's hash,
because a signature a call would cost more than the call. No cookie takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.core.access_token import build_token_refusal, has_audience, parse_bearer_token
from app.core.errors import BffError, IdpUnavailableError, TokenInvalidError
from app.core.identity import Identity
from app.services.access_token_cache import AccessTokenCache, hash_token
from app.services.access_token_sources import AccessTokenSource, CheckedToken, IntrospectedAccessTokens
from app.services.oidc_claims import read_names
from app.services.oidc_keys import find_unverified_claims
from app.settings.schema import IdpEntry

MAX_REMEMBERED = 5000


@dataclass(frozen=True, slots=True)
class BearerCaller:
    """Who calls, and the token that showed it."""

    identity: Identity
    token: str = field(repr=False)
    ends_at: float | None = None
    """Epoch seconds from when on the token is refused in any case; None where that is not known."""


class BearerAuthenticator:
    """One instance serves all requests of a worker."""

    def __init__(
        self,
        sources: Sequence[AccessTokenSource],
        *,
        kept_claims: Sequence[str],
        clock: Callable[[], float],
    ) -> None:
        """`kept_claims` are what an identity holds beside roles and permissions."""
        self._sources = sources
        self._kept_claims = kept_claims
        self._opaque_sources = _list_opaque_sources(sources)
        self._known: AccessTokenCache[tuple[Identity, float | None]] = AccessTokenCache(
            max_entries=MAX_REMEMBERED, clock=clock
        )

    def authenticate(self, authorization: str | None) -> BearerCaller:
        """Returns the caller; raises `TokenInvalidError` or `IdpUnavailableError`."""
        token = parse_bearer_token(authorization)
        token_hash = hash_token(token)
        known = self._known.find(token_hash)
        if known is None:
            source, checked = self._check(token)
            known = build_caller_identity(source.entry, checked.claims, self._kept_claims), checked.ends_at
            self._known.keep(token_hash, known, checked.good_until)
        identity, ends_at = known
        return BearerCaller(identity, token, ends_at)

    def _check(self, token: str) -> tuple[AccessTokenSource, CheckedToken]:
        """Asks the sources that the token may belong to, in the order of the file."""
        refusals: list[BffError] = []
        for source in self._choose_sources(token):
            try:
                return source, source.check(token)
            except (TokenInvalidError, IdpUnavailableError) as error:
                refusals.append(error)
        unavailable = [refusal for refusal in refusals if isinstance(refusal, IdpUnavailableError)]
        raise (unavailable or refusals or [build_token_refusal("no entry has the token's issuer and audience")])[0]

    def _choose_sources(self, token: str) -> Sequence[AccessTokenSource]:
        unverified = find_unverified_claims(token)
        if unverified is None or not isinstance(unverified.get("iss"), str):
            return self._opaque_sources
        return [
            source
            for source in self._sources
            if source.entry.issuer == unverified["iss"] and has_audience(unverified, source.entry.audience)
        ]


def build_caller_identity(entry: IdpEntry, claims: Mapping[str, object], kept_claims: Sequence[str]) -> Identity:
    """Returns who a checked token's claims say is calling."""
    subject = str(claims["sub"])
    kept = {name: claims[name] for name in kept_claims if name in claims}
    return Identity(
        user_id=subject,
        subject=subject,
        provider=entry.provider or entry.name,
        session_reference="",
        claims={
            **kept,
            "roles": read_names(claims, entry.claims_mapping.roles),
            "permissions": read_names(claims, entry.claims_mapping.permissions),
        },
    )


def _list_opaque_sources(sources: Sequence[AccessTokenSource]) -> Sequence[AccessTokenSource]:
    """A token that does not name its issuer can be looked up only where there is one issuer to ask: with several, one
    would be shown the tokens of another."""
    asking = [source for source in sources if isinstance(source, IntrospectedAccessTokens)]
    return asking if len({source.entry.issuer for source in asking}) == 1 else []
