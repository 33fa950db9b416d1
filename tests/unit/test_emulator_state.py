"""What the emulator keeps, and how its answers wait for a change of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator.errors import ServiceError
from emulator.state import State, write_atomically
from emulator.storage.routes import byte_range

pytestmark = pytest.mark.unit


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path / "state")
    yield made
    made.close()


def test_records_come_back_in_the_order_in_which_they_were_first_put(state: State) -> None:
    fruits = state.collection("fruits")
    for name in ("pear", "apple", "fig"):
        fruits.put("basket", name, {"name": name})
    fruits.put("basket", "pear", {"name": "pear", "ripe": True})
    assert fruits.all("basket") == [{"name": "pear", "ripe": True}, {"name": "apple"}, {"name": "fig"}]
    assert fruits.all("another basket") == []


def test_a_scope_is_deleted_from_every_collection_and_no_other_scope_with_it(state: State) -> None:
    for collection in ("fruits", "nuts"):
        state.collection(collection).put("basket", "a", {})
        state.collection(collection).put("bowl", "a", {})
    state.delete_scope("basket")
    assert [state.collection(name).all("basket") for name in ("fruits", "nuts")] == [[], []]
    assert [state.collection(name).all("bowl") for name in ("fruits", "nuts")] == [[{}], [{}]]


def test_numbers_are_never_given_twice_not_even_after_a_restart(state: State) -> None:
    assert [state.next_number("run", "a"), state.next_number("run", "a"), state.next_number("run", "b")] == [1, 2, 1]
    again = State(state.directory)
    assert again.next_number("run", "a") == 3
    again.close()


@pytest.mark.parametrize("part", ["..", "../..", "/etc", "a/../../b"])
def test_a_folder_outside_the_state_directory_is_refused(state: State, part: str) -> None:
    with pytest.raises(ServiceError, match="is not a name"):
        state.folder("runs", part)


def test_a_wait_ends_with_the_change_that_it_is_for(state: State) -> None:
    fruits = state.collection("fruits")

    async def scenario() -> bool:
        waiting = asyncio.create_task(state.wait_for(lambda: fruits.get("basket", "fig") is not None, 60))
        await asyncio.sleep(0)
        fruits.put("basket", "pear", {})
        await asyncio.sleep(0)
        assert not waiting.done()
        fruits.put("basket", "fig", {})
        return await waiting

    assert asyncio.run(scenario()) is True


def test_a_wait_ends_unmet_when_its_time_is_over(state: State) -> None:
    assert asyncio.run(state.wait_for(lambda: False, 0.01)) is False


def test_every_wait_ends_when_the_emulator_stops(state: State) -> None:
    async def scenario() -> None:
        waiting = asyncio.create_task(state.wait_for(lambda: False, 3600))
        await asyncio.sleep(0)
        state.end_waits()
        await waiting

    with pytest.raises(ServiceError) as ended:
        asyncio.run(scenario())
    assert ended.value.status == 503


def test_a_file_is_replaced_whole_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret"
    write_atomically(path, "first")
    write_atomically(path, b"second")
    assert path.read_text() == "second"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("bytes=0-0", (0, 0)),
        ("bytes=2-5", (2, 5)),
        ("bytes=5-", (5, 9)),
        ("bytes=5-99", (5, 9)),
        ("bytes=-3", (7, 9)),
        ("bytes=-99", (0, 9)),
        ("bytes=-", None),
        ("bytes=0-1,4-5", None),
        ("lines=1-2", None),
    ],
)
def test_the_bytes_that_a_range_wants_of_ten(header: str, wanted: tuple[int, int] | None) -> None:
    assert byte_range(header, 10) == wanted


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-12", 10), ("bytes=5-2", 10), ("bytes=0-", 0)]
)
def test_a_range_with_no_byte_in_it_is_refused(header: str, size: int) -> None:
    with pytest.raises(ServiceError) as refused:
        byte_range(header, size)
    assert refused.value.status == 416
