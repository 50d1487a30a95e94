"""The WebSockets of the examples, served as a newcomer has them, to the websockets library."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import pytest
from deploy.program import Program, find
from e2e.process import Gateway
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

pytestmark = pytest.mark.slow

Dial: TypeAlias = Callable[..., ClientConnection]

ENTRY = {"name": "Ann", "message": "A <b>fine</b> day"}


@pytest.fixture
def dial() -> Iterator[Dial]:
    """Connect to a path of a server as one of its own pages does; closed at the end."""
    with ExitStack() as stack:

        def dial(server: Gateway, path: str, **options: Any) -> ClientConnection:
            options = {"origin": f"http://127.0.0.1:{server.port}", **options}
            url = f"ws://127.0.0.1:{server.port}{path}"
            return stack.enter_context(connect(url, proxy=None, **options))

        yield dial


def hear(socket: ClientConnection) -> dict:
    return json.loads(socket.recv(timeout=10))


def hear_all(socket: ClientConnection, count: int) -> list[dict]:
    return [hear(socket) for _ in range(count)]


# --- the chat in the FastAPI application ----------------------------------------------------------


def hear_of(socket: ClientConnection, kind: str, name: str) -> dict:
    """The next message of `kind` about `name`; all tests meet in one room."""
    while True:
        message = hear(socket)
        if (message["kind"], message["name"]) == (kind, name):
            return message


def test_chat_brings_what_is_said_to_everybody(demo, dial):
    ann = dial(demo, "/api/chat/ws?name=Ann")
    hear_of(ann, "joined", "Ann")
    bob = dial(demo, "/api/chat/ws?name=Bob")
    assert hear_of(ann, "joined", "Bob") == hear_of(bob, "joined", "Bob")
    ann.send("Zażółć gęślą jaźń")
    for member in (ann, bob):
        assert hear_of(member, "said", "Ann")["text"] == "Zażółć gęślą jaźń"
    bob.close()
    assert hear_of(ann, "left", "Bob")["members"] >= 1


def test_chat_keeps_the_order_of_one_who_talks_fast(demo, dial):
    cleo = dial(demo, "/api/chat/ws?name=Cleo")
    texts = [str(number) for number in range(5)]
    for text in texts:
        cleo.send(text)
    assert [hear_of(cleo, "said", "Cleo")["text"] for _ in texts] == texts


@pytest.mark.parametrize("query", ["", "?name=", f"?name={'x' * 21}"])
def test_chat_refuses_who_has_no_proper_name(demo, dial, query):
    with pytest.raises(InvalidStatus) as refusal:
        dial(demo, f"/api/chat/ws{query}")
    assert refusal.value.response.status_code == 403


@pytest.mark.parametrize("data", ["x" * 501, b"bytes"], ids=["long", "binary"])
def test_chat_ends_with_whom_it_does_not_understand(demo, dial, data):
    dan = dial(demo, "/api/chat/ws?name=Dan")
    dan.send(data)
    with pytest.raises(ConnectionClosedError) as end:
        hear_of(dan, "said", "Dan")
    assert end.value.rcvd is not None
    assert (end.value.rcvd.code, end.value.rcvd.reason) == (
        1008,
        "Please send text, at most 500 characters.",
    )


# --- the guestbook of the Django site -------------------------------------------------------------


def test_guestbook_brings_an_entry_to_every_page(demo, dial):
    ann, bob = dial(demo, "/ws/guestbook/"), dial(demo, "/ws/guestbook/")
    assert hear(ann) == hear(bob) == {"user": ""}
    ann.send(json.dumps(ENTRY))
    assert hear(ann) == {"signed": True}
    assert "A &lt;b&gt;fine&lt;/b&gt; day" in hear(bob)["entry"]
    assert "A &lt;b&gt;fine&lt;/b&gt; day" in hear(ann)["entry"]


def test_guestbook_entry_from_a_socket_is_on_the_page_that_wsgi_serves(demo, dial):
    ann = dial(demo, "/ws/guestbook/")
    ann.send(json.dumps({"name": "Ann", "message": "from a socket"}))
    hear_all(ann, 3)
    page = httpx2.get(f"http://127.0.0.1:{demo.port}/guestbook/", trust_env=False)
    assert "from a socket" in page.text


def test_guestbook_says_what_is_wrong_with_an_entry(demo, dial):
    ann = dial(demo, "/ws/guestbook/")
    assert hear(ann) == {"user": ""}
    ann.send("{}")
    assert hear(ann) == {"errors": ["This field is required.", "This field is required."]}


def test_guestbook_knows_the_user_of_the_session(demo, dial):
    address = f"http://127.0.0.1:{demo.port}/login/"
    with httpx2.Client(trust_env=False) as visitor:
        visitor.get(address)
        token = visitor.cookies["csrftoken"]
        user = {"username": "admin", "password": "admin", "csrfmiddlewaretoken": token}
        visitor.post(address, data=user)
        cookie = f"sessionid={visitor.cookies['sessionid']}"
    admin = dial(demo, "/ws/guestbook/", additional_headers={"cookie": cookie})
    assert hear(admin) == {"user": "admin"}


@pytest.mark.parametrize("origin", ["https://evil.example", None])
def test_guestbook_refuses_pages_of_other_sites(demo, dial, origin):
    with pytest.raises(InvalidStatus) as refusal:
        dial(demo, "/ws/guestbook/", origin=origin)
    assert refusal.value.response.status_code == 403


@pytest.mark.parametrize("data", ["no JSON", "7", b"{}"], ids=["text", "number", "binary"])
def test_guestbook_ends_with_whom_it_does_not_understand(demo, dial, data):
    ann = dial(demo, "/ws/guestbook/")
    assert hear(ann) == {"user": ""}
    ann.send(data)
    with pytest.raises(ConnectionClosedError) as end:
        hear(ann)
    assert end.value.rcvd is not None
    assert end.value.rcvd.code == 1008


def test_guestbook_is_found_below_the_prefix_of_its_mount(mounted, dial):
    ann = dial(mounted, "/site/ws/guestbook/")
    assert hear(ann) == {"user": ""}


# --- the same on several machines -----------------------------------------------------------------


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("channels_redis", reason="pip install channels-redis")
    program = find("redis-server", install="apt-get install redis-server")
    path = tmp_path / "redis.sock"
    with Program([program, "--port", "0", "--unixsocket", path, "--save", ""], tmp_path) as redis:
        redis.wait_for("eady to accept connections")
        yield f"unix://{path}"


def test_guestbook_brings_an_entry_to_pages_of_other_processes(site_env, redis_url, examples, dial):
    env = {**site_env, "REDIS_URL": redis_url}
    args = ["--app-dir", ".", "django_site.mysite.asgi:application", "--port", "0"]
    with Gateway(args, examples, env=env) as one, Gateway(args, examples, env=env) as other:
        ann = dial(one.ready(), "/ws/guestbook/")
        bob = dial(other.ready(), "/ws/guestbook/")
        assert hear(ann) == hear(bob) == {"user": ""}
        ann.send(json.dumps(ENTRY))
        assert "A &lt;b&gt;fine&lt;/b&gt; day" in hear(bob)["entry"]
