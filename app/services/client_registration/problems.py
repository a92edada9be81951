"""What can keep a registration from working: a closed set of codes, each with the next step for the operator.

The sentences go to logs, to the audit trail and to the terminal; none of them holds a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ProblemCode(StrEnum):
    """Stable: alarms and scripts may depend on them."""

    PROVIDER_UNAVAILABLE = "provider_unavailable"
    NOT_SUPPORTED = "not_supported"
    NO_TOKEN = "no_initial_access_token"  # noqa: S105 - a code
    TOKEN_SPENT = "initial_access_token_spent"  # noqa: S105 - a code
    TOKEN_REFUSED = "initial_access_token_refused"  # noqa: S105 - a code
    METADATA_REFUSED = "metadata_refused"
    ANSWER_REFUSED = "answer_refused"
    OUTCOME_UNKNOWN = "outcome_unknown"
    CLIENT_LOST = "client_lost"
    UPDATE_REFUSED = "update_refused"
    NOT_AS_ASKED = "not_as_asked"
    RECORD_UNUSABLE = "record_unusable"
    STORE_UNAVAILABLE = "store_unavailable"


_FRESH_TOKEN = "Have the provider issue a fresh initial access token and give it as DCR_IAT"  # noqa: S105 - a sentence

_NEXT_STEPS = {
    ProblemCode.PROVIDER_UNAVAILABLE: "See that the provider is up and that oidc.issuer is right; a running BFF tries "
    "again by itself.",
    ProblemCode.NOT_SUPPORTED: "Register the client by hand and give its id as oidc.client_id.",
    ProblemCode.NO_TOKEN: f"{_FRESH_TOKEN} (oidc.dcr.initial_access_token), or register the client by hand and give "
    "its id as oidc.client_id.",
    ProblemCode.TOKEN_SPENT: f"{_FRESH_TOKEN}, then restart.",
    ProblemCode.TOKEN_REFUSED: f"{_FRESH_TOKEN}, then restart.",
    ProblemCode.METADATA_REFUSED: "Change the settings or the provider's policy as its error says. It is tried again "
    "every five minutes, and by `bff client register` at once.",
    ProblemCode.ANSWER_REFUSED: "Remove the client at the provider if there is one. Then: "
    f"{_FRESH_TOKEN[0].lower()}{_FRESH_TOKEN[1:]}, and restart.",
    ProblemCode.OUTCOME_UNKNOWN: "Look at the provider for a client of this name and these redirect URIs. If there is "
    "none, `bff client register --new` sends the same token once more. If there is one, remove it, give a fresh "
    "initial access token as DCR_IAT, and restart.",
    ProblemCode.CLIENT_LOST: "Look at the provider whether the client is still there. If it is, logins work and only "
    "changes cannot be written: make them there by hand. If it is gone, give a fresh initial access token as DCR_IAT "
    "and run `bff client register --new`: it registers a new client in its place.",
    ProblemCode.UPDATE_REFUSED: "The client works as it was. Change it at the provider by hand, or the settings as its "
    "error says, then restart.",
    ProblemCode.NOT_AS_ASKED: "Change the client at the provider by hand, or the provider's policy, then restart.",
    ProblemCode.RECORD_UNUSABLE: "Do what the reason says, then restart.",
    ProblemCode.STORE_UNAVAILABLE: "See that the store is up; a running BFF tries again by itself.",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no client, or why the one there is cannot be kept up to date."""

    code: ProblemCode
    reason: str
    """What happened, for operators; holds nothing that came from the wire but codes and client ids."""

    @property
    def next_step(self) -> str:
        return _NEXT_STEPS[self.code]

    @property
    def is_temporary(self) -> bool:
        """Whether it is worth trying again soon."""
        return self.code in {ProblemCode.PROVIDER_UNAVAILABLE, ProblemCode.STORE_UNAVAILABLE}

    @property
    def concerns_record(self) -> bool:
        """Whether what is stored cannot even be read."""
        return self.code in {ProblemCode.RECORD_UNUSABLE, ProblemCode.STORE_UNAVAILABLE}

    def __str__(self) -> str:
        return f"{self.reason} {self.next_step}"


class ProblemError(Exception):
    """Ends an attempt with the problem that it met."""

    def __init__(self, code: ProblemCode, reason: str) -> None:
        super().__init__(reason)
        self.problem = Problem(code, reason)
