"""The BFF registers itself at the real OpenID Provider, whose initial access tokens are good for one registration and
whose registration access tokens change with each update."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from app.services.client_registration import ClientRegistration, Outcome, ProblemCode
from app.services.client_registration.factory import FILE_NAME
from tests.integration.login_world import ORIGIN, World, world
from tests.support.real_op import RealOp
from tests.unit.observability.captured_lines import CapturedLines
from tests.unit.observability.conftest import captured

__all__ = ["captured", "world"]

pytestmark = pytest.mark.live


def build_app(world: World, *, token: str = "", changes: dict[str, Any] | None = None) -> Flask:
    """A process of a deployment that registers itself; built again, it is the next start."""
    oidc = {"client_auth": "private_key_jwt", "client_id": "", "client_secret": ""}
    oidc["dcr"] = {"enabled": True, "initial_access_token": token}  # type: ignore[assignment]
    return world.build(oidc=oidc, **(changes or {}))


def registration_of(app: Flask) -> ClientRegistration:
    found = app.extensions["bff"].client_registration
    assert isinstance(found, ClientRegistration)
    return found


def look(app: Flask) -> None:
    """What the background does when it begins."""
    registration_of(app).look()


def register(world: World, **options: Any) -> Flask:
    app = build_app(world, token=world.op.initial_access_token(), **options)
    look(app)
    return app


def read_file(world: World) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((world.directory / "keys" / FILE_NAME).read_text(encoding="utf-8"))
    return stored


def requests_to_registration(op: RealOp) -> list[str]:
    return [event["method"] for event in op.events("request") if event["path"].startswith("/reg")]


def problem_of(outcome: Outcome) -> ProblemCode:
    assert outcome.problem is not None
    return outcome.problem.code


def test_a_deployment_registers_itself_and_users_log_in(world: World) -> None:
    app = register(world)
    client_id = registration_of(app).get_client_id()

    assert requests_to_registration(world.op) == ["POST"]
    assert world.op.events("registration_create.success")[0]["client_id"] == client_id
    assert registration_of(app).check() == "ok"


def test_what_is_registered_is_what_the_settings_say(world: World) -> None:
    register(world)
    granted = read_file(world)["client"]["granted"]

    assert granted["redirect_uris"] == [f"{ORIGIN}/auth/callback"]
    assert granted["post_logout_redirect_uris"] == [f"{ORIGIN}/auth/logged-out"]
    assert granted["backchannel_logout_uri"] == f"{ORIGIN}/auth/backchannel-logout"
    assert granted["backchannel_logout_session_required"] is True
    assert granted["jwks_uri"] == f"{ORIGIN}/.well-known/jwks.json"
    assert granted["token_endpoint_auth_method"] == "private_key_jwt"
    assert granted["token_endpoint_auth_signing_alg"] == "ES256"
    assert granted["grant_types"] == ["authorization_code", "refresh_token"]
    assert granted["scope"] == "openid profile email roles offline_access"


def test_the_record_is_private_and_holds_no_token(world: World) -> None:
    token = world.op.initial_access_token()
    look(build_app(world, token=token))
    path = world.directory / "keys" / FILE_NAME
    client = read_file(world)["client"]
    store = registration_of(build_app(world)).read().client

    assert path.stat().st_mode & 0o777 == 0o600
    assert token not in path.read_text(encoding="utf-8")
    assert store is not None
    assert client["sealed_token"]
    assert "registration_access_token" not in path.read_text(encoding="utf-8")


def test_a_second_start_reads_and_writes_nothing(world: World) -> None:
    first = registration_of(register(world)).get_client_id()
    world.op.reset()
    age_check(world)
    again = build_app(world)
    look(again)

    assert requests_to_registration(world.op) == ["GET"]
    assert registration_of(again).get_client_id() == first


def test_workers_that_start_together_ask_once(world: World) -> None:
    register(world)
    age_check(world)
    world.op.reset()
    for _ in range(3):
        look(build_app(world))

    assert requests_to_registration(world.op) == ["GET"]


def age_check(world: World) -> None:
    """As if the last look at the provider had been an hour ago."""
    path = world.directory / "keys" / FILE_NAME
    record = read_file(world)
    record["check"]["at"] -= 3600
    path.write_text(json.dumps(record), encoding="utf-8")


def test_two_instances_that_start_at_once_register_once(world: World) -> None:
    token = world.op.initial_access_token()
    apps = [build_app(world, token=token) for _ in range(4)]
    begin = threading.Barrier(len(apps))

    def start(app: Flask) -> None:
        begin.wait(10)
        while registration_of(app).check() == "unregistered":
            look(app)

    threads = [threading.Thread(target=start, args=(app,)) for app in apps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len({registration_of(app).get_client_id() for app in apps}) == 1
    assert requests_to_registration(world.op).count("POST") == 1


def test_a_changed_redirect_uri_is_exactly_one_update(world: World) -> None:
    """And the token that came with it opens the next read: the provider has forgotten the one before."""
    client_id = registration_of(register(world)).get_client_id()
    world.op.reset()
    moved = {"server": {"public_url": "http://127.0.0.1:8000"}}
    look(build_app(world, changes=moved))
    assert requests_to_registration(world.op) == ["GET", "PUT"]

    world.op.reset()
    again = build_app(world, changes=moved)
    outcome = registration_of(again).ensure()
    assert outcome == Outcome()
    assert requests_to_registration(world.op) == ["GET"]
    assert registration_of(again).get_client_id() == client_id
    assert read_file(world)["client"]["granted"]["redirect_uris"] == ["http://127.0.0.1:8000/auth/callback"]


def test_a_user_logs_in_at_a_registered_client(world: World) -> None:
    """With the keys by value: the provider cannot call a test client at its `jwks_uri`."""
    app = build_app(world)
    jwks = app.test_client().get("/.well-known/jwks.json", base_url=ORIGIN).json
    client = world.op.register_client(ORIGIN, auth_method="private_key_jwt", jwks=jwks)
    plant_client(world, app, client.client_id)
    browser = world.open_browser(app)
    browser.log_in()

    assert browser.is_logged_in()


def plant_client(world: World, app: Flask, client_id: str) -> None:
    """A client that some other worker got: this one has to find it in the record by itself."""
    stored = {"issuer": world.op.issuer, "client_id": client_id, "registered_at": 1.0}
    path = world.directory / "keys" / FILE_NAME
    path.touch(0o600)
    path.write_text(json.dumps({"version": 1, "client": stored}), encoding="utf-8")
    registration_of(app).follow()


def test_without_a_client_logins_are_503_and_the_rest_works(world: World) -> None:
    app = build_app(world)
    look(app)
    browser = world.open_browser(app)
    answer = browser.call("GET", "/auth/login?return_to=/")

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (503, "idp_unavailable")
    assert "not registered" in answer.text
    assert requests_to_registration(world.op) == []
    ready = browser.call("GET", "/health/ready")
    assert (ready.status_code, ready.json["parts"]["client"]) == (200, "unregistered")  # type: ignore[index]
    assert browser.call("GET", "/.well-known/jwks.json").status_code == 200


def test_what_is_missing_is_said_with_the_next_step(world: World, captured: CapturedLines) -> None:
    look(build_app(world))
    [line] = [line for line in captured.of("event") if line["event"] == "client_registration.problem"]

    assert line["problem"] == "no_initial_access_token"
    assert "DCR_IAT" in line["next_step"]


def test_a_token_that_is_still_set_draws_a_warning(world: World, captured: CapturedLines) -> None:
    register(world)
    events = [line["event"] for line in captured.of("event")]

    assert "client_registration.initial_access_token_still_set" in events
    assert [line["event"] for line in captured.of("audit")].count("client.registered") == 1


def test_a_spent_token_is_not_sent_again(world: World) -> None:
    """After the client was forgotten here, as with another issuer, or a record that was restored without it."""
    token = world.op.initial_access_token()
    look(build_app(world, token=token))
    record = read_file(world)
    del record["client"], record["check"]
    (world.directory / "keys" / FILE_NAME).write_text(json.dumps(record), encoding="utf-8")
    world.op.reset()
    outcome = registration_of(build_app(world, token=token)).ensure()

    assert problem_of(outcome) == ProblemCode.TOKEN_SPENT
    assert requests_to_registration(world.op) == []


def test_a_token_that_the_provider_refuses_is_not_sent_again(world: World) -> None:
    for _ in range(2):
        outcome = registration_of(build_app(world, token="expired-or-never-there")).ensure()
        assert problem_of(outcome) == ProblemCode.TOKEN_REFUSED
    assert requests_to_registration(world.op) == ["POST"]

    register(world)
    assert read_file(world)["client"]


def test_what_the_provider_refuses_to_register_can_be_put_right_with_the_same_token(world: World) -> None:
    token = world.op.initial_access_token()
    wrong = {"server": {"public_url": ORIGIN}, "keys": {"directory": str(world.directory / "keys")}}
    app = build_app(world, token=token, changes=wrong)
    world.op.fail("/reg", status=400, times=1, body={"error": "invalid_redirect_uri"})
    outcome = registration_of(app).ensure()
    assert problem_of(outcome) == ProblemCode.METADATA_REFUSED
    assert outcome.problem is not None
    assert "invalid_redirect_uri" in outcome.problem.reason

    assert registration_of(build_app(world, token=token)).ensure().change == "registered"


def test_a_lost_client_is_reported_and_not_replaced(world: World) -> None:
    client_id = registration_of(register(world)).get_client_id()
    remove_at_provider(world, client_id)
    world.op.reset()
    fresh = build_app(world, token=world.op.initial_access_token())
    outcome = registration_of(fresh).ensure()

    assert problem_of(outcome) == ProblemCode.CLIENT_LOST
    assert outcome.problem is not None
    assert "bff client register --new" in outcome.problem.next_step
    assert requests_to_registration(world.op) == ["GET"]
    assert registration_of(fresh).get_client_id() == client_id, "what it is used for goes on"
    assert registration_of(fresh).check() == "attention"

    assert registration_of(fresh).ensure(anew=True).change == "registered"
    assert registration_of(fresh).get_client_id() != client_id
    assert registration_of(fresh).check() == "ok"


def remove_at_provider(world: World, client_id: str) -> None:
    registration = registration_of(build_app(world))
    client = registration.read().client
    assert client is not None
    token = registration._store.open_token(client)
    answer = requests.delete(client.registration_client_uri, headers={"Authorization": f"Bearer {token}"}, timeout=5)
    assert answer.status_code == 204


def test_a_provider_that_is_down_is_tried_again(world: World) -> None:
    token = world.op.initial_access_token()
    world.op.fail("/.well-known/openid-configuration", status=503, times=1)
    app = build_app(world, token=token)
    assert registration_of(app).look() <= 1.0
    assert registration_of(app).check() == "unregistered"
    assert requests_to_registration(world.op) == []
    assert registration_of(build_app(world, token=token)).ensure().change == "registered"


@pytest.mark.parametrize("status", [429, 503])
def test_a_provider_that_says_not_now_gets_the_same_token_later(world: World, status: int) -> None:
    token = world.op.initial_access_token()
    world.op.fail("/reg", status=status, times=1)
    app = build_app(world, token=token)
    assert problem_of(registration_of(app).ensure()) == ProblemCode.PROVIDER_UNAVAILABLE
    assert read_file(world)["attempt"] is None
    assert registration_of(app).ensure().change == "registered"


@pytest.mark.parametrize("failure", [{"status": 500}, {"status": 502}, {"status": 504}, {"delay_ms": 3000}])
def test_after_an_answer_that_was_lost_nothing_is_sent_before_somebody_looked(
    world: World, failure: dict[str, int]
) -> None:
    token = world.op.initial_access_token()
    timeout = {"server": {"public_url": ORIGIN}}
    world.settings["oidc"]["timeout_seconds"] = 1
    world.op.fail("/reg", times=1, **failure)
    assert problem_of(registration_of(build_app(world, token=token, changes=timeout)).ensure()) == (
        ProblemCode.OUTCOME_UNKNOWN
    )
    world.op.clear_faults()
    world.op.reset()
    outcome = registration_of(build_app(world, token=token)).ensure()
    assert problem_of(outcome) == ProblemCode.OUTCOME_UNKNOWN
    assert requests_to_registration(world.op) == []

    fresh = build_app(world, token=world.op.initial_access_token())
    assert registration_of(fresh).ensure().change == "registered"


def test_a_process_killed_before_the_answer_leaves_its_intent(world: World, tmp_path: Path) -> None:
    """What it wrote before it sent anything is all that the next one finds."""
    token = world.op.initial_access_token()
    app = build_app(world, token=token)
    kill_at_the_answer(app)
    app = build_app(world, token=token)
    outcome = registration_of(app).ensure()

    assert problem_of(outcome) == ProblemCode.OUTCOME_UNKNOWN
    assert requests_to_registration(world.op) == ["POST"]
    assert outcome.problem is not None
    assert "bff client register --new" in outcome.problem.next_step
    assert tmp_path in Path(registration_of(app)._store.place).parents


class Killed(BaseException):
    """No handler of the product sees it, as none sees SIGKILL."""


def kill_at_the_answer(app: Flask) -> None:
    registrar = registration_of(app)._registrar
    create = registrar._client.create

    def create_and_die(*arguments: Any) -> Any:
        create(*arguments)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registrar._client, "create", create_and_die)
        with pytest.raises(Killed):
            registration_of(app).ensure()


def test_no_token_is_in_a_line(world: World, captured: CapturedLines) -> None:
    token = world.op.initial_access_token()
    app = build_app(world, token=token)
    look(app)
    look(build_app(world, token=token, changes={"server": {"public_url": "http://127.0.0.1:8000"}}))
    registration = registration_of(app)
    client = registration.read().client
    assert client is not None
    registration_token = registration._store.open_token(client)

    assert registration_token
    for secret in (token, registration_token):
        assert secret not in captured.text
        assert secret not in repr(client)
        assert secret not in repr(registration.read())


def test_a_new_data_key_takes_over_the_registration_before_the_old_one_is_dropped(world: World, tmp_path: Path) -> None:
    """As the key file is changed: a start with the new key first, later one without the old key."""
    old, new = (base64.b64encode(bytes([number]) + bytes(range(31))).decode() for number in (1, 2))
    key_file = tmp_path / "data_keys"
    tokens = {"tokens": {"data_key_file": str(key_file)}}
    for keys in ([old], [new, old], [new]):
        key_file.touch(mode=0o600)
        key_file.write_text("\n".join(keys), encoding="ascii")
        if keys == [old]:
            register(world, changes=tokens)
        else:
            age_check(world)
            look(build_app(world, changes=tokens))
    world.op.reset()
    age_check(world)
    look(build_app(world, changes=tokens))
    assert requests_to_registration(world.op) == ["GET"]
