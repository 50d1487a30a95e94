"""A double callable as a single one."""

from __future__ import annotations

import asyncio

import pytest

from gateway.interfaces.asgi2 import as_asgi3


def test_the_scope_goes_to_the_first_call_and_the_channels_to_the_second():
    seen = []

    def app(scope):
        seen.append(scope)

        async def instance(receive, send):
            seen.append((receive, send))

        return instance

    asyncio.run(as_asgi3(app)("scope", "receive", "send"))
    assert seen == ["scope", ("receive", "send")]


def test_a_class_with_an_asynchronous_call():
    seen = []

    class App:
        def __init__(self, scope):
            self.scope = scope

        async def __call__(self, receive, send):
            seen.append((self.scope, receive, send))

    asyncio.run(as_asgi3(App)("scope", "receive", "send"))
    assert seen == [("scope", "receive", "send")]


def test_an_exception_of_the_first_call_is_the_calls():
    def app(scope):
        raise ValueError("no such scope")

    with pytest.raises(ValueError, match="no such scope"):
        asyncio.run(as_asgi3(app)("scope", "receive", "send"))
