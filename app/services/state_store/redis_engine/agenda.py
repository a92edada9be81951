"""Agendas in Redis: one sorted set each, members by the microsecond at which they are due.

A claim puts the member's time off to the end of its lease, and that time is the ticket: once the member has another,
the claim is over. A set has no lifetime: it goes with its last member.
"""

from __future__ import annotations

from collections.abc import Callable

from app.services.state_store.agenda_values import build_microseconds, check_agenda, check_member
from app.services.state_store.interface import Claim
from app.services.state_store.redis_engine.caller import RedisCaller
from app.services.state_store.redis_engine.scripts import Script, build_script_command

_NOW = "local t = redis.call('TIME') local now = t[1] * 1000000 + t[2]\n"

SCHEDULE = Script.from_source(
    _NOW
    + """local due_at = now + ARGV[2]
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or -1) == due_at then due_at = due_at + 1 end
redis.call('ZADD', KEYS[1], due_at, ARGV[1])
return 1"""
)
"""ARGV: member, delay. Never the very time that a claim gave. Twice: due a moment later."""

CLAIM_DUE = Script.from_source(
    _NOW
    + """local lease_ends_at = now + ARGV[2]
local members = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, member in ipairs(members) do redis.call('ZADD', KEYS[1], lease_ends_at, member) end
return {lease_ends_at, members}"""
)
"""ARGV: limit, lease. The longest due first. Cannot be repeated: what the first claimed is nobody's until its lease
is over."""

SETTLE = Script.from_source(
    _NOW
    + """if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or -1) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then redis.call('ZREM', KEYS[1], ARGV[1]) else redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1]) end
return 1"""
)
"""ARGV: member, ticket, delay or "". Twice: the claim is seen to be over already."""


class RedisAgendas:
    def __init__(self, caller: RedisCaller, build_key: Callable[[str], str]) -> None:
        """`build_key` gives the key in Redis for one of ours (`kind:name`)."""
        self._caller = caller
        self._build_key = build_key

    def schedule(self, agenda: str, member: str, delay_seconds: float) -> None:
        check_member(member)
        delay = build_microseconds(delay_seconds)
        self._caller.call("schedule", build_script_command(SCHEDULE, self._locate(agenda), member, delay))

    def claim_due(self, agenda: str, limit: int, lease_seconds: float) -> tuple[Claim, ...]:
        if limit <= 0:
            return ()
        lease = max(1, build_microseconds(lease_seconds))
        command = build_script_command(CLAIM_DUE, self._locate(agenda), limit, lease, can_be_repeated=False)
        ticket, members = self._caller.call("claim_due", command)
        return tuple(Claim(member.decode(), ticket) for member in members)

    def settle(self, agenda: str, claim: Claim, again_in_seconds: float | None) -> None:
        delay = "" if again_in_seconds is None else build_microseconds(again_in_seconds)
        command = build_script_command(SETTLE, self._locate(agenda), claim.member, str(claim.ticket), delay)
        self._caller.call("settle", command)

    def _locate(self, agenda: str) -> str:
        check_agenda(agenda)
        return self._build_key(f"agenda:{agenda}")
