"""A WebSocket client that can do everything wrong: frames by hand, cuts anywhere, no state.

It judges what a server sends: unmasked, in the shortest length form, reserved bits only as agreed,
the right Sec-WebSocket-Accept (RFC 6455, sections 4.1 and 5.1).
"""

from __future__ import annotations

import base64
import hashlib
import os
import select
import struct
import zlib
from collections.abc import Iterable
from typing import NamedTuple, Self

from e2e.client import TIMEOUT, Address, ConnectionCut, Http1Socket, Response

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "ClientDeflate",
    "Frame",
    "Peer",
    "close_payload",
    "decoded_close",
    "fill",
    "frame",
    "handshake_lines",
    "open_peer",
    "switching",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TAIL = b"\x00\x00\xff\xff"


class Frame(NamedTuple):
    """rsv: the three reserved bits, 4 is RSV1."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x37\xfa\x21\x3d",
    width: int | None = None,
) -> bytes:
    """One frame. mask: None for none. width: bytes of its length field (1, 3, 9), else the least."""
    size = len(payload)
    if width is None:
        width = 1 if size < 126 else 3 if size < 65536 else 9
    masked = 0x80 if mask is not None else 0
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    if width == 1:
        head = struct.pack("!BB", first, masked | size)
    elif width == 3:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if mask is None:
        return head + payload
    whole = int.from_bytes(payload, "big")
    pad = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
    return head + mask + (whole ^ pad).to_bytes(size, "big")


def close_payload(code: int | None, reason: str | bytes = b"") -> bytes:
    """The body of a close frame; None for an empty one."""
    if code is None:
        return b""
    return struct.pack("!H", code) + (reason.encode() if isinstance(reason, str) else reason)


def handshake_lines(*extra: str, **changed: str | None) -> list[str]:
    """Fields of a good request and `extra`; ``sec_websocket_key="x"`` changes one, None drops it."""
    fields: dict[str, str | None] = {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": KEY,
        "sec-websocket-version": "13",
    }
    fields |= {name.replace("_", "-"): value for name, value in changed.items()}
    return [*(f"{name}: {value}" for name, value in fields.items() if value is not None), *extra]


class ClientDeflate:
    """The client's half of permessage-deflate, RFC 7692, by what the server answered."""

    def __init__(self, response: str) -> None:
        name, *parameters = [part.strip() for part in response.split(";")]
        assert name == "permessage-deflate"
        found = dict(part.partition("=")[::2] for part in parameters)
        assert len(found) == len(parameters), response
        self.server_bits = int(found.pop("server_max_window_bits", "15").strip('"'))
        self.client_bits = int(found.pop("client_max_window_bits", "15").strip('"'))
        self.server_takeover = found.pop("server_no_context_takeover", None) is None
        self.client_takeover = found.pop("client_no_context_takeover", None) is None
        assert not found, response
        self._compressor = self._new_compressor()
        self._inflater = self._new_inflater()

    def _new_compressor(self) -> zlib._Compress:
        # zlib has no raw window of 8 bits; a stream of 9 bits is what it makes of it.
        return zlib.compressobj(wbits=-max(9, self.client_bits))

    def _new_inflater(self) -> zlib._Decompress:
        # A window as small as was agreed: a server that looks further back is an error here.
        return zlib.decompressobj(wbits=-max(9, self.server_bits))

    def compress(self, data: bytes) -> bytes:
        if not self.client_takeover:
            self._compressor = self._new_compressor()
        data = self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return data.removesuffix(_TAIL)

    def inflate(self, data: bytes) -> bytes:
        if not self.server_takeover:
            self._inflater = self._new_inflater()
        return self._inflater.decompress(data + _TAIL)


class Peer:
    """An open WebSocket; `response` is the server's 101.

    connection: below it, for what is not frames. deflate: if it was agreed; `send` and `message`
    use it then.
    """

    def __init__(self, connection: Http1Socket, response: Response) -> None:
        self.connection = connection
        self.response = response
        agreed = response.header("sec-websocket-extensions")
        self.deflate = ClientDeflate(agreed) if agreed is not None else None

    # --- out ------------------------------------------------------------------------------------

    def write(self, data: bytes, *, chop: int = 0) -> None:
        """Raw bytes; `chop`: in pieces of so many, each a segment of its own."""
        if not chop:
            self.connection.send(data)
            return
        for at in range(0, len(data), chop):
            self.connection.send(data[at : at + chop])

    def send_frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0
    ) -> None:
        self.connection.send(frame(opcode, payload, fin=fin, rsv=rsv))

    def send(self, message: str | bytes, *, fragment: int = 0) -> None:
        """One message, compressed where that was agreed, in frames of at most `fragment` bytes."""
        opcode = TEXT if isinstance(message, str) else BINARY
        payload = message.encode() if isinstance(message, str) else message
        rsv = 0
        if self.deflate is not None:
            payload, rsv = self.deflate.compress(payload), 4
        cut = fragment or max(1, len(payload))
        parts = [payload[at : at + cut] for at in range(0, len(payload), cut)] or [b""]
        frames = [
            frame(
                CONTINUATION if number else opcode,
                part,
                fin=number == len(parts) - 1,
                rsv=0 if number else rsv,
            )
            for number, part in enumerate(parts)
        ]
        self.connection.send(b"".join(frames))

    def send_close(self, code: int | None = 1000, reason: str | bytes = b"") -> None:
        self.send_frame(CLOSE, close_payload(code, reason))

    # --- in -------------------------------------------------------------------------------------

    def frame(self) -> Frame:
        """The next frame. Raises `ConnectionCut`."""
        first, second = self.connection.exactly(2)
        assert not second & 0x80, "a server must not mask"
        size = second
        if size == 126:
            (size,) = struct.unpack("!H", self.connection.exactly(2))
            assert size > 125, "not the shortest form"
        elif size == 127:
            (size,) = struct.unpack("!Q", self.connection.exactly(8))
            assert size > 65535, "not the shortest form"
        got = Frame(first & 15, self.connection.exactly(size), bool(first & 0x80), first >> 4 & 7)
        assert got.rsv in (0, 4 if self.deflate is not None else 0), got
        if got.opcode >= CLOSE:
            assert got.fin, got
            assert size <= 125, got
            assert not got.rsv, got
        return got

    def message(self, *, skip: Iterable[int] = ()) -> str | bytes:
        """The next message; frames of the control opcodes in `skip` are passed over."""
        opcode, rsv, parts = None, 0, []
        while True:
            got = self.frame()
            if got.opcode in skip:
                continue
            assert got.opcode < CLOSE, got
            if opcode is None:
                assert got.opcode != CONTINUATION, got
                opcode, rsv = got.opcode, got.rsv
            else:
                assert (got.opcode, got.rsv) == (CONTINUATION, 0), got
            parts.append(got.payload)
            if got.fin:
                break
        data = b"".join(parts)
        if rsv:
            assert self.deflate is not None
            data = self.deflate.inflate(data)
        return data.decode() if opcode == TEXT else data

    def rest(self) -> list[Frame]:
        """Every frame until the server closes the connection."""
        found: list[Frame] = []
        try:
            while True:
                found.append(self.frame())
        except ConnectionCut:
            return found

    def closed(self, *, skip: Iterable[int] = ()) -> tuple[int | None, str]:
        """Code and reason of the close frame that comes now, and nothing after it."""
        frames = [each for each in self.rest() if each.opcode not in skip]
        assert frames, "the connection ended without a close frame"
        assert [each.opcode for each in frames] == [CLOSE], frames
        return decoded_close(frames[0].payload)

    def close(self, code: int | None = 1000, reason: str = "") -> tuple[int | None, str]:
        """Send a close frame; the server's answer to it."""
        self.send_close(code, reason)
        return self.closed()

    def goodbye(self, *, skip: Iterable[int] = (PING,)) -> tuple[int | None, str]:
        """Code and reason of the close frame that comes now; it is answered, and nothing follows.

        Both sides close the connection then, as a client does whose library is done with it.
        """
        while (got := self.frame()).opcode in skip:
            pass
        assert got.opcode == CLOSE, got
        self.write(frame(CLOSE, got.payload))
        assert self.rest() == []
        self.connection.close()
        return decoded_close(got.payload)

    def is_silent(self, seconds: float = 0.2) -> bool:
        """True if the server sends nothing for so long."""
        sock = self.connection.socket
        return not select.select([sock], [], [], seconds)[0] and not self.connection._buffer

    # --- the end --------------------------------------------------------------------------------

    def leave(self) -> None:
        """Go away as a killed client does."""
        self.connection.reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def fill(connection: Http1Socket, data: bytes, *, quiet: float = 0.25) -> int:
    """Send `data` again and again until nothing was taken for `quiet` seconds; bytes taken.

    What was taken may end within `data`: ``data[taken % len(data):]`` completes it.
    """
    taken = 0
    connection.socket.settimeout(quiet)
    try:
        while True:
            taken += connection.socket.send(memoryview(data)[taken % len(data) :])
    except TimeoutError:
        return taken
    finally:
        connection.socket.settimeout(TIMEOUT)


def decoded_close(payload: bytes) -> tuple[int | None, str]:
    if not payload:
        return None, ""
    assert len(payload) >= 2, payload
    return int.from_bytes(payload[:2], "big"), payload[2:].decode()


def switching(connection: Http1Socket) -> Response:
    """The head of the response to a handshake: a 101 is final here."""
    version, code, *_ = connection.line().split(" ", 2)
    assert version == "HTTP/1.1"
    return Response(int(code), connection.fields())


def open_peer(
    address: Address,
    target: str = "/",
    *lines: str,
    offer: str | None = None,
    window: int | None = None,
    data: bytes = b"",
) -> Peer:
    """Shake hands. lines: further fields. offer: of extensions. data: sent in the same segment."""
    connection = Http1Socket(address, window=window)
    try:
        key = base64.b64encode(os.urandom(16)).decode()
        fields = handshake_lines(*lines, sec_websocket_key=key)
        if offer is not None:
            fields.append(f"sec-websocket-extensions: {offer}")
        host = [] if any(line.lower().startswith("host:") for line in fields) else ["host: test"]
        text = "\r\n".join([f"GET {target} HTTP/1.1", *host, *fields, "", ""])
        connection.send(text.encode("latin-1") + data)
        response = switching(connection)
        assert response.status == 101, (response, connection.until_closed())
        wanted = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        assert response.all("sec-websocket-accept") == [wanted]
        assert response.header("upgrade") == "websocket"
        assert (response.header("connection") or "").lower() == "upgrade"
        assert response.header("content-length") is None
        assert response.header("transfer-encoding") is None
        return Peer(connection, response)
    except BaseException:
        connection.close()
        raise
