"""What a worker notes of its invocations, and what its supervisor reads."""

from __future__ import annotations

import pytest

from samovar.concurrency.flights import Board, NotingClient
from samovar.local.testing.scripted_api import Answer, ScriptedRuntimeApi, invocation
from samovar.runtime_api import ApiError, NotTaken
from tests import invocations

ROOM = 1018  # bytes for both ids


@pytest.mark.parametrize(
    ("request_id", "invocation_id"),
    [
        ("8476a536-e9f4-11e8-9739-2dfe598c3fcd", "0b8d17a2-7b0c-4b6c-8d3c-3c1f4f5d6a7b"),
        ("one", None),
        ("é\udcff\0 ", "\udc80"),
        ("i" * ROOM, None),
        ("i", "i" * (ROOM - 1)),
    ],
)
def test_what_is_noted_is_read(request_id: str, invocation_id: str | None) -> None:
    before, slot, after = Board(2, 3).slots(0, 3)
    slot.hold(invocations.invocation(request_id, invocation_id=invocation_id))
    read = slot.read()
    assert read is not None
    assert (read.id, read.invocation_id) == (request_id, invocation_id)
    assert not slot.is_empty()
    assert before.is_empty()
    assert after.is_empty()
    slot.clear()
    assert slot.is_empty()
    assert slot.read() is None


@pytest.mark.parametrize("ids", [("i" * (ROOM + 1), None), ("i", "i" * ROOM), ("é" * 600, None)])
def test_ids_that_are_too_long_are_noted_as_that(ids: tuple[str, str | None]) -> None:
    slot, after = Board(1, 2).slots(0, 2)
    slot.hold(invocations.invocation("before"))
    slot.clear()
    slot.hold(invocations.invocation(ids[0], invocation_id=ids[1]))
    assert slot.read() is None
    assert not slot.is_empty()
    assert after.is_empty()


def test_states_and_slots_are_apart() -> None:
    board = Board(3, 1)
    (slot,) = board.slots(0, 1)
    for worker in range(3):
        board.set_state(worker, worker)
    slot.hold(invocations.invocation("i" * ROOM))
    assert [board.state(worker) for worker in range(3)] == [0, 1, 2]
    assert not board.in_a_hurry()
    board.hurry()
    assert board.in_a_hurry()
    assert [board.state(worker) for worker in range(3)] == [0, 1, 2]


def test_an_invocation_is_in_flight_until_something_of_it_has_been_taken() -> None:
    (slot,) = Board(1, 1).slots(0, 1)
    refused = Answer(b"{}", 403)
    with ScriptedRuntimeApi(*(invocation({}, f"{number}") for number in range(4))) as api:
        client = NotingClient(api.address, slot)
        first = client.next()
        assert not slot.is_empty()
        client.respond(first, b"{}")
        assert slot.is_empty()

        second = client.next()
        api.override("POST /2018-06-01/runtime/invocation/ID/response", refused)
        with pytest.raises(NotTaken):
            client.respond(second, b"{}")
        assert not slot.is_empty()
        client.fail(second, b"{}", "Error", b"")
        assert slot.is_empty()

        third = client.next()
        api.override("POST /2018-06-01/runtime/invocation/ID/error", refused)
        with pytest.raises(NotTaken):
            client.fail(third, b"{}", "Error", b"")
        assert not slot.is_empty()
        client.next()
        read = slot.read()
        assert read is not None
        assert read.id == "3"


def test_whether_something_has_been_answered_is_read_once() -> None:
    slot, other = Board(1, 2).slots(0, 2)
    with ScriptedRuntimeApi(*(invocation({}, f"{number}") for number in range(3))) as api:
        client = NotingClient(api.address, slot)
        client.respond(client.next(), b"{}")
        client.next()
        assert slot.forget_answer()
        assert not other.forget_answer()
        assert not slot.forget_answer()
        client.fail(client.next(), b"{}", "Error", b"")
        assert slot.forget_answer()
        assert slot.is_empty()


def test_a_forked_child_leaves_the_note_of_its_parent() -> None:
    (slot,) = Board(1, 1).slots(0, 1)
    with ScriptedRuntimeApi(invocation()) as api:
        client = NotingClient(api.address, slot)
        client.next()
        client.disown()
        with pytest.raises(ApiError):
            client.next()
        assert not slot.is_empty()
