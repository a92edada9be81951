from __future__ import annotations

from app.services.state_store.redis_engine.changes import Changes

KEY, OTHER = "session:a", "session:b"
ONE, TWO = b"head one", b"head two"


def test_a_copy_is_current_until_its_record_changes() -> None:
    changes = Changes()
    read_at = changes.position
    assert changes.is_current(KEY, read_at, ONE)
    changes.note(OTHER, TWO)
    assert changes.is_current(KEY, read_at, ONE)
    changes.note(KEY, TWO)
    assert not changes.is_current(KEY, read_at, ONE)


def test_a_read_that_began_before_a_change_is_not_believed_after_it() -> None:
    changes = Changes()
    before = changes.position
    changes.note(KEY)
    assert not changes.is_current(KEY, before, ONE)
    assert changes.is_current(KEY, changes.position, ONE)


def test_the_echo_of_a_write_does_not_spoil_a_copy_made_of_it() -> None:
    changes = Changes()
    changes.note(KEY)  # our own write returned
    read_at = changes.position
    changes.note(KEY, ONE)  # and now we hear of it
    assert changes.is_current(KEY, read_at, ONE)
    changes.note(KEY, TWO)
    assert not changes.is_current(KEY, read_at, ONE)


def test_word_of_an_earlier_write_does_not_make_a_later_copy_look_older() -> None:
    changes = Changes()
    read_at = changes.position  # of what TWO wrote
    changes.note(KEY, ONE)
    assert not changes.is_current(KEY, read_at, TWO)  # costs a read, no more
    changes.note(KEY, TWO)
    assert changes.is_current(KEY, read_at, TWO)


def test_nothing_is_current_once_the_record_is_gone() -> None:
    changes = Changes()
    read_at = changes.position
    changes.note(KEY, b"")
    assert not changes.is_current(KEY, read_at, b"")


def test_after_word_was_missed_all_that_was_read_before_counts_as_changed() -> None:
    changes = Changes()
    changes.note(KEY, ONE)
    read_at = changes.position
    changes.forget_all()
    assert not changes.is_current(KEY, read_at, ONE)
    assert not changes.is_current(OTHER, read_at, ONE)
    assert changes.is_current(KEY, changes.position, ONE)


def test_what_was_forgotten_for_want_of_room_counts_as_changed() -> None:
    changes = Changes(most_changes=10)
    read_at = changes.position
    for number in range(10):
        changes.note(f"session:{number}", TWO)
    assert changes.is_current(OTHER, read_at, ONE)
    changes.note("session:10", TWO)
    assert not changes.is_current(OTHER, read_at, ONE)
    assert not changes.is_current("session:0", read_at, ONE)
    assert changes.is_current(OTHER, changes.position, ONE)


def test_a_record_that_changes_again_and_again_pushes_out_no_other() -> None:
    changes = Changes(most_changes=2)
    read_at = changes.position
    for _ in range(100):
        changes.note(KEY, TWO)
    assert changes.is_current(OTHER, read_at, ONE)
