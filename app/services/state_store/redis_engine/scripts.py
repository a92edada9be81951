"""What Redis does in one step, as Lua.

Nothing else runs in between. Times are counted by the server's own clock, so that machines whose clocks differ agree. A
script may be sent twice when a reply was lost; each says what that does.

A value begins with a head of `HEAD_BYTES` that no other write shares (see `frame`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import msgspec

from app.services.state_store.redis_engine.frame import HEAD_BYTES, VERSION
from app.services.state_store.redis_engine.wire import Argument


@dataclass(frozen=True, slots=True)
class Script:
    source: str
    digest: str

    @classmethod
    def from_source(cls, source: str) -> Script:
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class Command(msgspec.Struct, frozen=True):
    """One command on one key. `can_be_repeated`: sent twice it does no more than sent once, and replies the same."""

    key: str
    words: tuple[Argument, ...]
    can_be_repeated: bool
    words_with_source: tuple[Argument, ...] = ()
    """What to send to a server that does not know the script yet."""

    def __repr__(self) -> str:
        return f"<Command {self.words[0]!r}>"


def build_command(name: str, key: str, *arguments: Argument, can_be_repeated: bool = True) -> Command:
    return Command(key, (name, key, *arguments), can_be_repeated)


def build_script_command(script: Script, key: str, *arguments: Argument, can_be_repeated: bool = True) -> Command:
    known, unknown = ("EVALSHA", script.digest), ("EVAL", script.source)
    return Command(key, (*known, 1, key, *arguments), can_be_repeated, (*unknown, 1, key, *arguments))


# In all that write: ARGV[1] value, ARGV[2] lifetime in ms (0: over at once), ARGV[3] channel or "", ARGV[4] message.
_WRITE = """
local function write()
  if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
  if ARGV[3] ~= '' then redis.call('PUBLISH', ARGV[3], ARGV[4]) end
end
"""

PUT = Script.from_source(_WRITE + "write() return 1")
"""Twice: the same value twice."""

PUT_IF_CURRENT = Script.from_source(
    f"""{_WRITE}
local head = redis.call('GETRANGE', KEYS[1], 0, {HEAD_BYTES - 1})
if head == string.sub(ARGV[1], 1, {HEAD_BYTES}) then return 1 end
if head == '' or head ~= ARGV[5] then return 0 end
write() return 1"""
)
"""ARGV[5] is the head of what was read. Twice: the value is seen to be there already."""

ADD = Script.from_source(
    f"""{_WRITE}
local head = redis.call('GETRANGE', KEYS[1], 0, {HEAD_BYTES - 1})
if head == string.sub(ARGV[1], 1, {HEAD_BYTES}) then return 1 end
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
write() return 1"""
)
"""Twice: the value is seen to be there already."""

TAKE = Script.from_source(
    f"""local value = redis.call('GET', KEYS[1])
if not value or string.byte(value) ~= {VERSION} then return value end
redis.call('DEL', KEYS[1])
if ARGV[1] ~= '' then redis.call('PUBLISH', ARGV[1], ARGV[2]) end
return value"""
)
"""Cannot be repeated: the second would find nothing. What a later version wrote is left alone."""

DELETE = Script.from_source(
    "redis.call('DEL', KEYS[1]) if ARGV[1] ~= '' then redis.call('PUBLISH', ARGV[1], ARGV[2]) end return 1"
)

INCREMENT = Script.from_source(
    """local count = redis.call('INCR', KEYS[1])
if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return count"""
)
"""Cannot be repeated."""

_NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"

ADD_MEMBER = Script.from_source(
    _NOW
    + """redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], last[2])
return 1"""
)
"""The set is a sorted one: members by the time at which each is over."""

MEMBERS = Script.from_source(_NOW + "return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')")

ACQUIRE = Script.from_source(
    """local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then return 1 end
if holder then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1"""
)
"""ARGV[1] is the holder's token, ARGV[2] its lease in ms. Twice: the lock is seen to be ours already."""

RELEASE = Script.from_source(
    """if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
return 1"""
)
"""0: the lock was not ours any more. Twice: 0 although it was; nobody else's lock is touched."""

CHECK = Script.from_source(
    """redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local value = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
return value"""
)
