from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

PATH = "/.well-known/jwks.json"
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}


def test_the_public_keys_are_published(app: Flask, client: FlaskClient) -> None:
    answer = client.get(PATH)

    assert answer.status_code == 200
    assert answer.mimetype == "application/jwk-set+json"
    assert answer.json == app.extensions["bff"].key_store.public_jwks()
    assert answer.json is not None
    assert len(answer.json["keys"]) == 1


def test_t19_nothing_private_is_published(client: FlaskClient) -> None:
    answer = client.get(PATH)

    assert answer.json is not None
    assert not any(PRIVATE_MEMBERS & set(key) for key in answer.json["keys"])


def test_anybody_may_keep_it_for_a_while(client: FlaskClient) -> None:
    headers = client.get(PATH, headers={"Cookie": "__Host-Http-bff_session=" + "x" * 43}).headers

    assert headers["Cache-Control"] == "public, max-age=300"
    assert "Vary" not in headers
    assert "Set-Cookie" not in headers


def test_who_has_it_already_is_told_so(client: FlaskClient) -> None:
    etag = client.get(PATH).headers["ETag"]
    answer = client.get(PATH, headers={"If-None-Match": etag})

    assert (answer.status_code, answer.data) == (304, b"")
    assert answer.headers["ETag"] == etag
    assert answer.headers["Cache-Control"] == "public, max-age=300"


@pytest.mark.parametrize("etag", ['"another"', "", "*x"])
def test_who_has_another_one_gets_it(client: FlaskClient, etag: str) -> None:
    assert client.get(PATH, headers={"If-None-Match": etag}).status_code == 200


def test_head_has_no_body(client: FlaskClient) -> None:
    answer = client.head(PATH)

    assert (answer.status_code, answer.data) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 100
