from __future__ import annotations

from app.services.dpop_nonces import NonceMemory

ORIGIN = "https://idp.example.com"


def test_the_newest_nonce_of_an_origin_is_used() -> None:
    nonces = NonceMemory()
    assert nonces.find(ORIGIN) is None
    assert nonces.note(ORIGIN, ["n-1"])
    assert nonces.note(ORIGIN, ["n-2"])
    assert nonces.find(ORIGIN) == "n-2"


def test_a_nonce_is_for_the_origin_that_gave_it() -> None:
    nonces = NonceMemory()
    nonces.note(ORIGIN, ["n-1"])
    assert nonces.find("https://idp.example.com:8443") is None
    assert nonces.find("http://idp.example.com") is None


def test_what_is_malformed_changes_nothing() -> None:
    nonces = NonceMemory()
    nonces.note(ORIGIN, ["n-1"])
    assert not nonces.note(ORIGIN, ["n 2"])
    assert not nonces.note(ORIGIN, [])
    assert nonces.find(ORIGIN) == "n-1"


def test_origins_are_bounded_and_the_one_longest_without_news_goes() -> None:
    nonces = NonceMemory(max_origins=2)
    for origin in ("https://a", "https://b", "https://a", "https://c"):
        nonces.note(origin, ["n"])
    assert [nonces.find(origin) for origin in ("https://a", "https://b", "https://c")] == ["n", None, "n"]
