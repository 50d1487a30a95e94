"""Random input: mutations of the corpus of HTTP/1.1, and HTTP/2 of any kind.

    python -m tests.protocols.fuzz --seconds 60 [--seed 7] [--http 1|2]

HTTP/1.1: both parsers, any segmentation, one outcome. HTTP/2: see `http2_fuzz` and
`http2_reference`. Prints what is wrong, and the input as Python that makes it again, and ends with
1 if there was something. Found so, mend it and add a message to tests/corpus, or a test.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from itertools import pairwise
from random import Random, randrange

from .corpus import load
from .harness import PARSERS, Conversation, Outcome
from .http2_fuzz import conversation, problem
from .http2_reference import Script

__all__ = ["disagreement", "mutated", "segments"]

# What changes the meaning of a head when it turns up in the wrong place.
TOKENS = (
    b"\r\n", b"\r", b"\n", b"\r\n\r\n", b" ", b"\t", b"\x0b", b"\x0c", b"\x00", b"\x7f", b"\x85",
    b"\xa0", b"\xff", b":", b",", b";", b"#", b"?", b"%", b"*", b"/", b"//", b"@", b"[", b"]",
    b"0", b"1", b"5", b"-1", b"+", b"_", b"0x", b"\xef\xbc\x95", b"18446744073709551616",
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http://", b"https://a:1", b"chunked", b"gzip",
    b"identity", b"close", b"keep-alive", b"upgrade", b"100-continue",
    b"Host: a\r\n", b"Host: b/c\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Connection: close\r\n", b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n",
    b"Proxy-Connection: close\r\n", b"Expect: 100-continue\r\n", b"Expect: x\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n",
)  # fmt: skip

_BEHIND = b"GET /behind HTTP/1.1\r\nHost: behind\r\n\r\n"


def mutated(random: Random, data: bytes, other: bytes) -> bytes:
    """`data` after one to four random changes; `other` is a message to take pieces of."""
    for _ in range(random.randint(1, 4)):
        start = random.randint(0, len(data))
        end = min(len(data), start + random.choice((0, 1, 1, 2, 4, 16)))
        kind = random.randrange(7)
        if kind == 0:
            data = data[:start] + random.choice(TOKENS) + data[start:]
        elif kind == 1:
            data = data[:start] + random.choice(TOKENS) + data[end:]
        elif kind == 2:
            data = data[:start] + bytes([random.randrange(256)]) + data[start + 1 :]
        elif kind == 3:
            data = data[:start] + data[end:]
        elif kind == 4:
            data = data[:end] + data[start:end] * random.randint(1, 3) + data[end:]
        elif kind == 5:
            cut = random.randint(0, len(other))
            data = data[:start] + other[cut : cut + random.choice((8, 64, 512))] + data[start:]
        else:
            data = data[:start] + data[start:end].swapcase() + data[end:]
    return data


def segments(random: Random, data: bytes) -> tuple[bytes, ...]:
    """`data` cut at up to six random places."""
    cuts = sorted({0, len(data), *(random.randint(0, len(data)) for _ in range(6))})
    return tuple(data[a:b] for a, b in pairwise(cuts))


def disagreement(random: Random, data: bytes) -> str:
    """What is wrong with the reactions to `data`; "" if nothing is. Raises what a server raises."""
    first, first_name = None, ""
    for parser in PARSERS:
        for way in ((data,), segments(random, data)):
            talk = Conversation(parser)
            talk.feed(*way)
            outcome = talk.outcome()
            name = f"{parser.__name__} in {list(map(len, way))}"
            if first is None:
                first, first_name = outcome, name
            elif outcome != first:
                return f"{first_name}: {_brief(first)}\n  {name}: {_brief(outcome)}"
            if any(status >= 400 for status in outcome.statuses[:-1]):
                return f"{name}: answered behind a refusal: {_brief(outcome)}"
            if talk.connection.deadline > talk.clock.now + 3600 and not talk.exchanges:
                return f"{name}: waits for ever: {_brief(outcome)}"
            if outcome.statuses[-1:] >= (400,):
                talk.feed(_BEHIND)
                if talk.outcome() != outcome:
                    return f"{name}: reads on behind a refusal: {_brief(outcome)}"
    return ""


def _brief(outcome: Outcome) -> str:
    seen = [(each.method, each.target[:80], each.body[:40]) for each in outcome.requests[-3:]]
    return f"{outcome.statuses[-5:]} {outcome.state} {seen}"


class _Http1:
    """Mutations of the corpus; those that cause a reaction of a new shape are mutated further."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._seeds = [message.data for message in load() if len(message.data) < 2000]
        self._interesting = list(self._seeds)
        self._shapes: set[tuple[object, ...]] = set()
        self._runs = 0

    def run(self) -> tuple[str, str]:
        """Some input, to be made again, and what is wrong with the reactions to it."""
        random = self._random
        data = mutated(random, random.choice(self._interesting), random.choice(self._seeds))
        self._runs += 1
        try:
            found = disagreement(random, data)
        except Exception as error:
            found = repr(error)
        if not found and self._runs % 8 == 0 and len(data) < 4000:
            # A poor man's coverage.
            talk = Conversation(PARSERS[0])
            talk.feed(data)
            shape = (talk.output[-60:], len(talk.exchanges), talk.state)
            if shape not in self._shapes and len(self._interesting) < 20_000:
                self._shapes.add(shape)
                self._interesting.append(data)
        return repr(data), found


class _Http2:
    """Frames of any kind, and now and then a legal conversation with another implementation."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def run(self) -> tuple[str, str]:
        """Some input, to be made again, and what is wrong with the reactions to it."""
        seed = self._random.getrandbits(32)
        random = Random(seed)
        if seed % 10 == 0:
            script = random.randbytes(random.choice((20, 60, 150, 400)))
            try:
                Script(script).play()
            except Exception as error:
                return f"Script({script!r}).play()", repr(error)
            return "", ""
        name = f"problem(random := Random({seed}), conversation(random))"
        try:
            return name, problem(random, conversation(random))
        except Exception as error:
            return name, repr(error)


def main() -> int:
    """The command line; returns the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])  # type: ignore[union-attr]
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--seed", type=int, default=randrange(1 << 32))
    arguments.add_argument("--http", choices=("1", "2"), help="one version only")
    options = arguments.parse_args()
    logging.disable()
    random = Random(options.seed)
    kinds = {"1": _Http1(random), "2": _Http2(random)}
    chosen = [kinds[options.http]] if options.http else list(kinds.values())
    end = time.monotonic() + options.seconds
    runs = found = 0
    while time.monotonic() < end and found < 10:
        made, wrong = chosen[runs % len(chosen)].run()
        runs += 1
        if wrong:
            found += 1
            sys.stdout.write(f"{made}\n  {wrong}\n\n")
    sys.stdout.write(f"{runs} messages, {found} disagreements, seed {options.seed}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
