"""The BFF registers itself at the provider (RFC 7591) and keeps its registration up to date (RFC 7592).

`client_metadata` says what it wants to be, `answers` judges what the provider says it is, `record` is remembered,
`registrar` and `client_upkeep` make the one out of the other, `registration` is what the rest of the BFF sees.
"""

from app.services.client_registration.factory import build_client_registration as build_client_registration
from app.services.client_registration.problems import Problem as Problem
from app.services.client_registration.problems import ProblemCode as ProblemCode
from app.services.client_registration.record import RegistrationRecord as RegistrationRecord
from app.services.client_registration.record import StoredClient as StoredClient
from app.services.client_registration.registrar import Outcome as Outcome
from app.services.client_registration.registration import ClientRegistration as ClientRegistration
