"""What the pipeline does when a part of ours fails, or asks for what is not there: it refuses, and says nothing."""

from __future__ import annotations

import pytest

from app.core.errors import StoreUnavailableError
from tests.integration.login_world import World, world

__all__ = ["world"]

pytestmark = pytest.mark.live

SECRET = "eyJhbGciOiJub25lIn0.secret.secret"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        pytest.param(RuntimeError(SECRET), 500, "internal_error", id="crash"),
        pytest.param(StoreUnavailableError(internal_reason="disk"), 503, "store_unavailable", id="O1-store"),
    ],
)
def test_a_part_that_fails_is_an_answer_without_a_word_of_why(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    error: Exception,
    status: int,
    code: str,
) -> None:
    app = world.build()

    def fail(_session_id: str) -> None:
        raise error

    monkeypatch.setattr(app.extensions["bff"].session_store, "find_by_key", fail)
    headers = {"Cookie": f"bff_session={'a' * 43}", "Host": world.origin.partition("//")[2]}
    [route, *_] = [r for r in app.extensions["bff"].configuration.route_table.routes if r.auth == "session"]
    path = route.path.replace("*", "x")
    answer = app.test_client(use_cookies=False).get(path, headers=headers, environ_overrides={"RAW_URI": path})
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (status, code)
    assert "Set-Cookie" not in answer.headers
    logged = capfd.readouterr().out
    assert SECRET not in answer.text + logged
    assert "disk" not in answer.text
