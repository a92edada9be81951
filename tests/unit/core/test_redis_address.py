from __future__ import annotations

import pytest

from app.core.redis_address import HostAndPort, RedisAddress, RedisKind, RedisUrlError, parse_redis_url

ONE = (HostAndPort("redis", 6379),)
SECRET = "s3cret-p4ss"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://redis", RedisAddress(RedisKind.SINGLE, ONE)),
        ("redis://redis:7000/3", RedisAddress(RedisKind.SINGLE, (HostAndPort("redis", 7000),), database=3)),
        ("rediss://redis/", RedisAddress(RedisKind.SINGLE, ONE, tls=True)),
        ("redis://:p%40s%2Fs@redis", RedisAddress(RedisKind.SINGLE, ONE, password="p@s/s")),
        ("redis://bff:a@b:c@redis", RedisAddress(RedisKind.SINGLE, ONE, user="bff", password="a@b:c")),
        ("redis://[::1]:7000", RedisAddress(RedisKind.SINGLE, (HostAndPort("::1", 7000),))),
        (
            "redis+sentinel://bff:pw@a,b:5/main?db=2&tls=true&sentinel_user=s&sentinel_password=%26x+y",
            RedisAddress(
                RedisKind.SENTINEL,
                (HostAndPort("a", 26379), HostAndPort("b", 5)),
                tls=True,
                user="bff",
                password="pw",
                database=2,
                master_name="main",
                sentinel_user="s",
                sentinel_password="&x+y",
            ),
        ),
        (
            "redis+cluster://:pw@a,b:7001?tls=true",
            RedisAddress(RedisKind.CLUSTER, (HostAndPort("a", 6379), HostAndPort("b", 7001)), tls=True, password="pw"),
        ),
    ],
)
def test_every_form_of_the_url_is_understood(url: str, address: RedisAddress) -> None:
    assert parse_redis_url(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "redis",
        "redis:/redis",
        "http://redis",
        "REDIS://redis",
        "redis://",
        f"redis://:{SECRET}@",
        f"redis://:{SECRET}/x@redis",
        f"redis://:{SECRET}#x@redis",
        f"redis://:{SECRET} x@redis",
        f"redis://:{SECRET}ä@redis",
        f"redis://{SECRET}@redis",
        f"redis://:{SECRET}@redis:0",
        f"redis://:{SECRET}@redis:65536",
        f"redis://:{SECRET}@redis:x",
        f"redis://:{SECRET}@redis/main",
        f"redis://:{SECRET}@redis/-1",
        f"redis://:{SECRET}@a,b",
        f"redis://:{SECRET}@redis?tls=true",
        f"redis://:{SECRET}@redis?{SECRET}",
        f"redis+sentinel://:{SECRET}@a,b",
        f"redis+sentinel://:{SECRET}@a,b/",
        f"redis+sentinel://:{SECRET}@a,,b/main",
        f"redis+sentinel://:{SECRET}@a/main?db=x",
        f"redis+sentinel://:{SECRET}@a/main?tls=yes",
        f"redis+sentinel://:{SECRET}@a/main?db=1&db=2",
        f"redis+cluster://:{SECRET}@a/1",
        f"redis+cluster://:{SECRET}@a?db=1",
    ],
)
def test_a_url_that_is_not_one_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(RedisUrlError) as refusal:
        parse_redis_url(url)
    assert SECRET not in str(refusal.value)


def test_no_repr_shows_a_user_or_password() -> None:
    address = parse_redis_url(f"redis+sentinel://bff:{SECRET}1@a/main?sentinel_user=other&sentinel_password={SECRET}2")
    for secret in ("bff", "other", SECRET):
        assert secret not in repr(address)


def test_a_host_and_port_read_as_people_write_them() -> None:
    assert str(HostAndPort("redis", 6379)) == "redis:6379"
    assert str(HostAndPort("::1", 6379)) == "[::1]:6379"
