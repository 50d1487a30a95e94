"""What one application gets from the settings of its mount."""

from __future__ import annotations

import asyncio
import struct
import sys

import pytest
from fakes import FakeWire, exchange
from websocket.fakes import TunnelWire, masked, opening, unmasked

from gateway.application import Applications
from gateway.errors import ConfigError
from gateway.exchange import Exchange
from gateway.settings import Mount, load
from gateway.websocket.codec import CLOSE, TEXT
from gateway.websocket.codec_wsproto import WsprotoCodec


def mount_of(app, **options) -> Mount:
    given = {"mounts": {"/": {"app": app, "lifespan": "off", **options}}}
    (mount,) = load(overrides=given, environ={}, search=False).settings.mounts
    return mount


async def talk(scope, receive, send):
    """Says how it was called; echoes one message."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"plain"})
        return
    await receive()
    await send({"type": "websocket.accept"})
    message = await receive()
    if message["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


async def waits(scope, receive, send):
    await asyncio.Event().wait()


async def turns() -> None:
    """Let applications run as far as they can."""
    for _ in range(4):
        await asyncio.sleep(0)


def met(
    app, *data: bytes, request=None, development=False, **options
) -> tuple[TunnelWire, Exchange]:
    """A request for a WebSocket at a mount with these options, and the frames of its client."""

    async def steps():
        mount = mount_of(app, **options)
        application = Applications(development=development).load(mount)
        wire = TunnelWire()
        asked = exchange(request or opening(), wire)
        application.open(mount, asyncio.get_running_loop())(asked)
        await turns()
        for each in data:
            asked.body_received(each)
            await turns()
        if asked.tunnel is not None:
            asked.tunnel.on_shutdown()
        application.cancel()
        await turns()
        return wire, asked

    return asyncio.run(steps())


def close_of(wire: TunnelWire) -> int:
    kind, payload = unmasked(wire.body)[-1]
    assert kind == CLOSE
    (code,) = struct.unpack("!H", payload[:2])
    return code


@pytest.mark.parametrize("codec", ["auto", "websockets", "wsproto"])
def test_every_codec_serves(codec):
    if codec == "websockets":
        pytest.importorskip("websockets")
    wire, _ = met(talk, masked(TEXT, b"hi"), ws=codec)
    assert unmasked(wire.body)[0] == (TEXT, b"hi")


def test_none_serves_a_plain_request():
    wire, _ = met(talk, ws="none")
    assert (wire.status, wire.body) == (200, b"plain")


def test_the_largest_message_is_the_mounts():
    wire, _ = met(talk, masked(TEXT, b"x" * 11), ws_max_size=10)
    assert close_of(wire) == 1009


def test_the_origins_are_the_mounts():
    request = opening(extra=[(b"origin", b"https://evil.example")])
    wire, _ = met(talk, request=request, ws_origins=["https://example.com"])
    assert wire.status == 403


def test_compression_is_agreed_unless_it_is_off():
    offer = [(b"sec-websocket-extensions", b"permessage-deflate")]
    wire, _ = met(talk, request=opening(extra=offer))
    assert wire.header(b"sec-websocket-extensions") is not None
    wire, _ = met(talk, request=opening(extra=offer), ws_per_message_deflate=False)
    assert wire.header(b"sec-websocket-extensions") is None


@pytest.mark.parametrize(("seconds", "deadline"), [(7, 7.0), (0, None)])
def test_the_time_for_the_handshake_is_the_mounts(seconds, deadline):
    async def steps():
        mount = mount_of(waits, ws_handshake_timeout=seconds)
        application = Applications().load(mount)
        wire = TunnelWire()
        application.open(mount, asyncio.get_running_loop())(exchange(opening(), wire))
        assert wire.deadline == deadline
        await turns()
        application.cancel()
        await turns()

    asyncio.run(steps())


@pytest.mark.parametrize(("development", "code"), [(False, 1012), (True, 1001)])
def test_the_server_takes_leave_with_a_code_that_says_why(development, code):
    wire, _ = met(talk, development=development)
    assert close_of(wire) == code


def test_a_websocket_counts_as_running_and_is_cancelled():
    async def steps():
        mount = mount_of(waits)
        application = Applications().load(mount)
        wire = TunnelWire()
        application.open(mount, asyncio.get_running_loop())(exchange(opening(), wire))
        await turns()
        assert application.running() == 1
        application.cancel()
        await turns()
        assert application.running() == 0
        assert wire.status == 500

    asyncio.run(steps())


def test_mounts_that_differ_have_doors_of_their_own():
    async def steps():
        applications = Applications()
        one, same, other = mount_of(talk), mount_of(talk), mount_of(talk, ws_max_size=10)
        application = applications.load(one)
        for mount in (same, other):
            assert applications.load(mount) is application
        loop = asyncio.get_running_loop()
        assert application.open(one, loop) is application.open(same, loop)
        assert application.open(one, loop) is not application.open(other, loop)

    asyncio.run(steps())


def test_a_missing_library_is_named_with_its_command(monkeypatch):
    monkeypatch.delitem(sys.modules, "gateway.websocket.codec_websockets", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "websockets"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "websockets", None)
    with pytest.raises(ConfigError) as caught:
        Applications().load(mount_of(talk, ws="websockets"))
    assert str(caught.value).startswith("ws = websockets: ")
    assert str(caught.value).endswith("\n  pip install websockets, or use --ws auto")


def test_a_wsgi_mount_needs_no_codec_and_ignores_the_upgrade(monkeypatch):
    monkeypatch.setitem(sys.modules, "websockets", None)

    def app(environ, start_response):
        start_response("200 OK", [])
        return [environ["REQUEST_METHOD"].encode()]

    async def steps():
        mount = mount_of(app, ws="websockets")
        application = Applications().load(mount)
        wire, done = FakeWire(), asyncio.Event()
        asked = exchange(opening(), wire)
        asked.on_finish.append(lambda _: done.set())
        application.open(mount, asyncio.get_running_loop())(asked)
        await asyncio.wait_for(done.wait(), 5)
        await application.end_threads(5)
        assert (wire.status, wire.body) == (200, b"GET")

    asyncio.run(steps())


def test_wsproto_is_wsproto():
    mount = mount_of(talk, ws="wsproto")
    assert Applications().load(mount)._sessions(mount).codec is WsprotoCodec
