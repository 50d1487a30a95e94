"""What a stream has to send and its peer does not take yet."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from gateway.protocols.http2_outbox import Outbox


@pytest.fixture
def file() -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        yield file


def taken(outbox: Outbox, size: int) -> list[bytes]:
    pieces = []
    while not outbox.empty:
        pieces.append(outbox.take(size))
    return pieces


def test_a_new_one_is_empty() -> None:
    assert Outbox().empty


def test_nothing_does_not_wait() -> None:
    outbox = Outbox()
    outbox.add(b"")
    assert outbox.empty


def test_bytes_are_taken_in_order() -> None:
    outbox = Outbox()
    outbox.add(b"hello")
    outbox.add(b"world")
    assert b"".join(taken(outbox, 100)) == b"helloworld"


@pytest.mark.parametrize("size", [1, 3, 4, 5, 6, 100])
def test_no_piece_is_longer_than_was_asked_for(size: int) -> None:
    outbox = Outbox()
    outbox.add(b"hello")
    outbox.add(b"world")
    pieces = taken(outbox, size)
    assert b"".join(pieces) == b"helloworld"
    assert all(0 < len(piece) <= size for piece in pieces)


def test_pieces_are_bytes() -> None:
    outbox = Outbox()
    outbox.add(bytearray(b"hello"))
    assert [type(piece) for piece in taken(outbox, 2)] == [bytes] * 3


def test_a_range_of_a_file_is_read_in_its_turn(file: BinaryIO) -> None:
    outbox = Outbox()
    outbox.add(b"<")
    outbox.add_file(file, 2, 5)
    outbox.add(b">")
    assert b"".join(taken(outbox, 2)) == b"<23456>"


def test_a_file_is_read_no_further_than_there_is_room(file: BinaryIO) -> None:
    outbox = Outbox()
    outbox.add_file(file, 0, 10)
    assert outbox.take(4) == b"0123"
    assert not outbox.empty
    assert not outbox.file_sent


def test_two_ranges_of_one_file_do_not_mind_its_position() -> None:
    source = io.BytesIO(b"0123456789")
    outbox = Outbox()
    outbox.add_file(source, 0, 4)
    assert outbox.take(2) == b"01"
    source.seek(9)
    assert outbox.take(2) == b"23"


def test_a_file_taken_to_its_end_is_closed_and_told(file: BinaryIO) -> None:
    outbox = Outbox()
    outbox.add_file(file, 0, 10)
    taken(outbox, 10)
    assert file.closed
    assert outbox.file_sent


def test_a_file_that_is_not_taken_is_closed(file: BinaryIO) -> None:
    outbox = Outbox()
    outbox.add(b"x")
    outbox.add_file(file, 0, 10)
    outbox.close()
    assert file.closed
    assert outbox.empty


def test_a_file_that_was_begun_is_closed(file: BinaryIO) -> None:
    outbox = Outbox()
    outbox.add_file(file, 0, 10)
    outbox.take(3)
    outbox.close()
    assert file.closed


def test_a_short_file_is_an_error(file: BinaryIO) -> None:
    outbox = Outbox()
    outbox.add_file(file, 8, 10)
    assert outbox.take(100) == b"89"
    with pytest.raises(OSError, match="shorter"):
        outbox.take(100)


def test_a_short_file_is_closed_too(file: BinaryIO) -> None:
    outbox = Outbox()
    outbox.add_file(file, 10, 10)
    with pytest.raises(OSError, match="shorter"):
        outbox.take(100)
    outbox.close()
    assert file.closed


def test_a_file_that_cannot_be_read_is_an_error_and_closed() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("the disk is gone")

    source = Broken()
    outbox = Outbox()
    outbox.add_file(source, 0, 10)
    with pytest.raises(OSError, match="disk"):
        outbox.take(100)
    outbox.close()
    assert source.closed
