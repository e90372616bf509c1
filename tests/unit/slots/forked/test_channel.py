"""Messages between processes of one machine."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpsearch.slots.forked.channel import Channel, ChannelClosed, wait_for_any


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    one, other = Channel.pair()
    yield one, other
    one.close()
    other.close()


def test_messages_arrive_whole_and_in_order_and_none_that_came_early_is_overlooked(ends: tuple[Channel, Channel]):
    one, other = ends
    for content in ("first", list(range(10_000)), None):
        one.send(content)
    received = []
    while wait_for_any([other], 0):
        message = other.receive(timeout_s=0)
        assert message is not None
        received.append(message.content)
    assert received == ["first", list(range(10_000)), None]
    assert other.receive(timeout_s=0) is None


def test_an_open_file_travels_with_its_message(ends: tuple[Channel, Channel], tmp_path: Path):
    one, other = ends
    (tmp_path / "data").write_text("shared")
    with (tmp_path / "data").open() as file:
        one.send("no file")
        one.send("a file", (file.fileno(),))
    first, second = other.receive(), other.receive()
    assert first is not None and second is not None
    assert first.files == ()
    (number,) = second.files
    with os.fdopen(number) as copy:
        assert copy.read() == "shared"


def test_a_message_whose_file_can_not_be_opened_here_arrives_without_it(ends: tuple[Channel, Channel]):
    one, other = ends
    one.send("a file", (one.fileno(),))
    one.send("no file")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(one.fileno())
    os.close(free)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        received = [other.receive(timeout_s=5) for _ in range(2)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [(each.content, each.files) for each in received if each] == [("a file", ()), ("no file", ())]


def test_what_was_sent_before_an_end_is_received_then_the_end_is_an_error(ends: tuple[Channel, Channel]):
    one, other = ends
    one.send("last words")
    one.close()
    last = other.receive()
    assert last is not None and last.content == "last words"
    with pytest.raises(ChannelClosed):
        other.receive(timeout_s=5)
    with pytest.raises(ChannelClosed):
        for _ in range(100):
            other.send(b"x" * 100_000)


def test_the_kernel_says_who_is_at_the_other_end(ends: tuple[Channel, Channel]):
    assert ends[0].peer() == (os.getpid(), os.getuid())
