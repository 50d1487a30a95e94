"""Messages that wait for the application, and what was read beyond them."""

from __future__ import annotations

from collections import deque

from gateway.websocket.assembly import Assembly
from gateway.websocket.codec import Frame

__all__ = ["Inbox"]


class Inbox:
    """What a peer has sent and the application has not taken.

    It is full with `max_queue` messages, or when those that wait are as long as one may be (32
    messages of 16 MiB would be half a gigabyte for one peer). From then on frames are kept as
    they came, so that nothing is inflated for which there is no room: the caller stops reading,
    and no more than one read is kept that way.

    messages: those that wait, oldest first.
    full: there is no room.
    """

    __slots__ = (
        "_assembly",
        "_frames",
        "_max_queue",
        "_max_size",
        "_size",
        "full",
        "messages",
    )

    def __init__(self, assembly: Assembly, max_queue: int, max_size: int) -> None:
        """max_size: characters or bytes of all messages that wait; at least one always fits."""
        # A deque takes 0.6 KiB while it is empty, which is what most of them are.
        self.messages: list[str | bytes] = []
        self.full = False
        self._assembly = assembly
        self._max_queue = max_queue
        self._max_size = max_size
        self._size = 0
        self._frames: deque[Frame] | None = None

    def add(self, frame: Frame) -> bool:
        """Take the next data frame; True when it completed a message.

        Raises `Violation` like `Assembly.add`.
        """
        if self.full:
            if self._frames is None:
                self._frames = deque()
            self._frames.append(frame)
            return False
        message = self._assembly.add(frame)
        if message is None:
            return False
        messages = self.messages
        messages.append(message)
        self._size += len(message)
        if len(messages) >= self._max_queue or self._size >= self._max_size:
            self.full = True
        return True

    def take(self) -> str | bytes:
        """The oldest of `messages`. Call `refill` where it was `full`."""
        message = self.messages.pop(0)
        self._size -= len(message)
        return message

    def refill(self) -> int:
        """Use the room of a message that was taken; returns how many messages came into it.

        Raises `Violation` like `Assembly.add`.
        """
        self.full = False
        completed = 0
        frames, self._frames = self._frames, None
        while frames and not self.full:
            completed += self.add(frames.popleft())
        self._frames = frames or None
        return completed
