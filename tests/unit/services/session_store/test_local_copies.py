"""A worker's own copies: bounded in number and in time."""

from __future__ import annotations

from app.services.session_store.local_copies import LocalCopies
from app.services.session_store.record import SessionRecord, build_session_record
from tests.unit.services.session_store.support import build_login

RECORD: SessionRecord = build_session_record(build_login(), reference="r", now=0)


def build_copies(*, is_current: bool = True, most_copies: int = 10) -> LocalCopies[SessionRecord]:
    return LocalCopies(lambda name, mark: is_current, max_age_seconds=2, most_copies=most_copies)


def test_a_copy_is_used_while_it_is_young() -> None:
    copies = build_copies()
    copies.keep("session:a", RECORD, "mark", now=100)
    assert copies.find("session:a", now=101.9) is RECORD
    assert copies.find("session:a", now=102) is None
    assert len(copies) == 0


def test_a_copy_from_the_future_is_not_used() -> None:
    copies = build_copies()
    copies.keep("session:a", RECORD, "mark", now=100)
    assert copies.find("session:a", now=99) is None


def test_a_copy_is_not_used_when_the_store_has_another() -> None:
    copies = build_copies(is_current=False)
    copies.keep("session:a", RECORD, "mark", now=100)
    assert copies.find("session:a", now=100) is None
    assert len(copies) == 0


def test_a_copy_can_be_had_as_it_was_made() -> None:
    copies = build_copies(is_current=False)
    copies.keep("session:a", RECORD, "mark", now=100)
    copy = copies.get("session:a")
    assert copy
    assert (copy.record, copy.mark, copy.copied_at) == (RECORD, "mark", 100)
    assert copies.get("session:b") is None


def test_there_are_never_more_copies_than_allowed_and_the_first_goes_first() -> None:
    copies = build_copies(most_copies=3)
    for name in "abcad":
        copies.keep(name, RECORD, "mark", now=100)
    assert len(copies) == 3
    assert copies.find("b", now=100) is None
    assert copies.find("a", now=100) is RECORD


def test_copies_that_are_too_old_to_be_used_go_with_the_next_one_that_is_made() -> None:
    copies = build_copies()
    for name, now in (("a", 100), ("b", 101), ("c", 102.5)):
        copies.keep(name, RECORD, "mark", now=now)
    assert len(copies) == 2
    assert copies.find("b", now=102.5) is RECORD
    copies.keep("d", RECORD, "mark", now=30)  # the clock was set back
    assert len(copies) == 1


def test_a_copy_that_took_long_to_read_drives_out_no_younger_one() -> None:
    copies = build_copies()
    for name in "ab":
        copies.keep(name, RECORD, "mark", now=105)
    copies.keep("slow", RECORD, "mark", now=100)
    assert copies.find("a", now=105) is RECORD
    assert copies.find("b", now=105) is RECORD


def test_those_that_were_used_are_listed_when_half_their_time_is_over() -> None:
    copies = build_copies()
    for name, now in (("unused", 100.0), ("used", 100.0), ("young", 100.5)):
        copies.keep(name, RECORD, "mark", now=now)
    for name in ("used", "young"):
        copies.find(name, now=100.5)
    assert list(copies.list_aging(100.9)) == []
    assert list(copies.list_aging(101)) == ["used"]
    assert list(copies.list_aging(101.5)) == ["used", "young"]
    assert list(copies.list_aging(102)) == ["young"]
    assert len(copies) == 1, "the others are too old to be used"


def test_a_renewed_copy_is_as_good_as_one_made_when_it_was_looked_at() -> None:
    copies = build_copies()
    copies.keep("a", RECORD, "mark", now=100)
    copies.find("a", now=101)
    copies.renew("a", copies.list_aging(101)["a"], "new mark", now=101)
    assert copies.find("a", now=102.9) is RECORD
    copy = copies.get("a")
    assert copy
    assert (copy.mark, copy.copied_at) == ("new mark", 101)
    assert copies.find("a", now=103) is None


def test_a_renewed_copy_that_is_not_used_again_is_left_to_grow_old() -> None:
    copies = build_copies()
    copies.keep("a", RECORD, "mark", now=100)
    copies.find("a", now=101)
    copies.renew("a", copies.list_aging(101)["a"], "mark", now=101)
    assert copies.list_aging(102.5) == {}


def test_what_was_dropped_or_replaced_meanwhile_is_not_renewed() -> None:
    copies = build_copies()
    for name in "ab":
        copies.keep(name, RECORD, "mark", now=100)
        copies.find(name, now=101)
    aging = copies.list_aging(101)
    copies.drop("a")
    copies.keep("b", RECORD, "of a later write", now=101.5)
    for name in "ab":
        copies.renew(name, aging[name], "mark", now=101)
    assert copies.get("a") is None
    later = copies.get("b")
    assert later
    assert (later.mark, later.copied_at) == ("of a later write", 101.5)


def test_a_renewed_copy_does_not_go_before_those_that_were_made_earlier() -> None:
    copies = build_copies(most_copies=2)
    copies.keep("a", RECORD, "mark", now=100)
    copies.keep("b", RECORD, "mark", now=100.5)
    copies.find("a", now=101)
    copies.renew("a", copies.list_aging(101)["a"], "mark", now=101)
    copies.keep("c", RECORD, "mark", now=101)
    assert copies.find("a", now=101) is RECORD
    assert copies.find("b", now=101) is None
