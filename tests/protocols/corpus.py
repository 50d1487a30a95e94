"""Reads tests/corpus/*.http; its README describes the format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .harness import Outcome, Request

__all__ = ["CORPUS", "Message", "load"]

CORPUS = Path(__file__).parent.parent / "corpus"

_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|([rnt\\]))")
_CONTROL = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"\\": b"\\"}


@dataclass
class Answer:
    """One expected response, and what is to be true of the request behind it."""

    status: int
    method: str = ""
    target: bytes = b""
    details: list[tuple[str, bytes]] = field(default_factory=list)

    def check(self, request: Request) -> None:
        assert (request.method, request.target) == (self.method, self.target)
        for kind, text in self.details:
            _CHECKS[kind](request, text)


@dataclass
class Message:
    """One message of the corpus. name: "host/two"; state: "open" or "closed"."""

    name: str
    data: bytes = b""
    answers: list[Answer] = field(default_factory=list)
    state: str = ""

    def check(self, outcome: Outcome) -> None:
        """Assert that `outcome` is the one written in the file."""
        assert outcome.statuses == tuple(answer.status for answer in self.answers)
        accepted = [answer for answer in self.answers if answer.status == 200]
        assert len(outcome.requests) == len(accepted)
        for request, answer in zip(outcome.requests, accepted, strict=True):
            answer.check(request)
        assert outcome.state == self.state


def load() -> list[Message]:
    """All messages, in the order of their files."""
    messages = [message for path in sorted(CORPUS.glob("*.http")) for message in _read(path)]
    names = [message.name for message in messages]
    assert len(set(names)) == len(names), "a name is there twice"
    return messages


def _read(path: Path) -> Iterator[Message]:
    message: Message | None = None
    for line in [*path.read_text("utf-8").split("\n"), "== "]:
        mark, rest = line[:2], line[2:].removeprefix(" ")
        if mark == "==":
            if message is not None:
                message.state = message.state or _usual_state(message)
                yield message
            message = Message(f"{path.stem}/{rest.partition(':')[0]}")
        elif message is not None and line:
            _add(message, line[0], line[1:].removeprefix(" "))


def _add(message: Message, mark: str, text: str) -> None:
    words = text.split(" ")
    if mark == ">":
        message.data += _bytes(text)
    elif mark == "=":
        message.answers[-1].details.append((words[0], _bytes(text[len(words[0]) + 1 :])))
    elif mark != "<":
        raise ValueError(f"{message.name}: {mark!r} is no mark of a line")
    elif words[0].isdigit():
        answer = Answer(int(words[0]), *words[1:2], *map(_bytes, words[2:3]))
        message.answers += [answer] * int(words[3][1:] if len(words) > 3 else 1)
    else:
        message.state = {"waits": "open"}.get(text, text)


def _usual_state(message: Message) -> str:
    return "closed" if message.answers[-1].status >= 400 else "open"


def _bytes(text: str) -> bytes:
    r"""Escapes to bytes; `\[ab*3]` repeats, and may hold another one."""
    data = text.encode("ascii")
    while (start := data.rfind(b"\\[")) >= 0:
        end = data.index(b"]", start)
        part, _, count = data[start + 2 : end].rpartition(b"*")
        data = data[:start] + part * int(count) + data[end + 1 :]
    return _ESCAPE.sub(lambda m: bytes.fromhex(m[1].decode()) if m[1] else _CONTROL[m[2]], data)


def _check_header(request: Request, text: bytes) -> None:
    name, _, value = text.partition(b" ")
    assert request.header(name) == value


def _check(name: str, expected: object, actual: object) -> None:
    assert actual == expected, name


_CHECKS = {
    "body": lambda request, text: _check("body", text, request.body),
    "path": lambda request, text: _check("path", text.decode(), request.path),
    "raw-path": lambda request, text: _check("raw-path", text, request.raw_path),
    "query": lambda request, text: _check("query", text, request.query),
    "version": lambda request, text: _check("version", text.decode(), request.version),
    "upgrade": lambda request, text: _check("upgrade", text, request.upgrade or b""),
    "header": _check_header,
    "no-header": lambda request, text: _check("no-header", None, request.header(text)),
    "headers": lambda request, text: _check(
        "headers", text.split(), [name for name, _ in request.headers]
    ),
}
