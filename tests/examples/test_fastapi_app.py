"""The FastAPI example in the shape of its mount: the full path, and root_path /api."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime
from types import ModuleType

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from .asgi_exchange import body_of, exchange


@pytest.fixture
def main(examples) -> ModuleType:
    from fastapi_app import main

    return main


@pytest.fixture
def client(main):
    with TestClient(main.app, root_path="/api") as client:
        yield client


@pytest.fixture
def store(main):
    return main.Store(since=datetime.now(UTC))


def test_mount_without_a_slash_leads_to_the_page(client):
    response = client.get("/api", follow_redirects=False)
    assert response.status_code == 307
    assert response.headers["location"] == "http://testserver/api/"


def test_links_on_the_page_start_at_the_prefix(client):
    assert '<base href="/api/">' in client.get("/api/").text


def test_docs_page_finds_its_schema_under_the_prefix(client):
    assert "'/api/openapi.json'" in client.get("/api/docs").text
    schema = client.get("/api/openapi.json").json()
    assert schema["servers"] == [{"url": "/api"}]
    assert "/notes/{note_id}" in schema["paths"]


def test_style_sheet_is_served_under_the_prefix(client):
    assert client.get("/api/static/style.css").headers["content-type"].startswith("text/css")


def test_created_note_is_found_where_the_answer_says(client):
    created = client.post("/api/notes", json={"title": "tea", "text": "two cups"})
    assert created.status_code == 201
    assert created.headers["location"] == f"/api/notes/{created.json()['id']}"
    assert client.get(created.headers["location"]).json()["title"] == "tea"


def test_words_are_counted_after_the_answer(client):
    created = client.post("/api/notes", json={"title": "tea", "text": "two cups"})
    assert created.json()["words"] is None
    assert client.get(created.headers["location"]).json()["words"] == 2


def test_invalid_note_is_refused(client):
    response = client.post("/api/notes", json={"title": ""})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "title"]


def test_deleted_note_is_gone(client):
    url = client.post("/api/notes", json={"title": "tea"}).headers["location"]
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404
    assert client.delete(url).status_code == 404


def test_notes_are_bounded(client, main, monkeypatch):
    monkeypatch.setattr(main, "MAX_NOTES", 1)
    client.post("/api/notes", json={"title": "one"})
    assert client.post("/api/notes", json={"title": "two"}).status_code == 507


def test_each_start_has_a_state_of_its_own(client, main):
    client.post("/api/notes", json={"title": "tea"})
    with TestClient(main.app, root_path="/api") as another:
        assert another.get("/api/status").json()["notes"] == 0
    assert client.get("/api/status").json()["notes"] == 1


def test_events_end_when_all_were_sent(client):
    response = client.get("/api/events", params={"count": 3, "interval": 0})
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.text.count("data: ") == 3


def test_events_end_when_the_client_leaves(main, store):
    messages = asyncio.run(
        exchange(
            main.app,
            "/api/events",
            root_path="/api",
            query=b"count=3600&interval=0",
            state={"store": store},
            leaves_after=3,
        )
    )
    assert body_of(messages).count(b"data: ") == 2
    assert store.watchers == 0


def test_upload_is_digested(client):
    content = bytes(range(256)) * 1000
    answer = client.post("/api/files", files={"file": ("a.bin", content)}).json()
    assert answer == {
        "name": "a.bin",
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_too_large_an_upload_is_refused(client, main, monkeypatch):
    monkeypatch.setattr(main, "MAX_UPLOAD", 4)
    assert client.post("/api/files", files={"file": b"12345"}).status_code == 413


def test_chat_page_has_its_links_under_the_prefix(client):
    assert '<base href="/api/">' in client.get("/api/chat").text


def test_chat_tells_everybody_who_comes_speaks_and_leaves(client):
    with client.websocket_connect("/api/chat/ws?name=Ann") as ann:
        with client.websocket_connect("/api/chat/ws?name=Bob") as bob:
            bob.send_text("hello")
            assert bob.receive_json() == {"kind": "joined", "name": "Bob", "members": 2}
            heard = [ann.receive_json() for _ in range(3)]
        heard.append(ann.receive_json())
    assert [(each["kind"], each["name"]) for each in heard] == [
        ("joined", "Ann"),
        ("joined", "Bob"),
        ("said", "Bob"),
        ("left", "Bob"),
    ]
    assert heard[2]["text"] == "hello"


def test_chat_room_is_bounded(client, monkeypatch):
    from fastapi_app import chat

    monkeypatch.setattr(chat, "MOST_MEMBERS", 1)
    with (
        client.websocket_connect("/api/chat/ws?name=Ann"),
        pytest.raises(WebSocketDisconnect) as refusal,
        client.websocket_connect("/api/chat/ws?name=Bob"),
    ):
        pytest.fail("Bob is in")
    assert refusal.value.code == 1013


def test_chat_does_not_wait_for_a_slow_member(examples):
    from fastapi_app.chat import Room

    room = Room()
    slow, quick = asyncio.Queue(1), asyncio.Queue(2)
    room.members = {slow: "Ann", quick: "Bob"}
    room.tell("said", "Bob", text="one")
    room.tell("said", "Bob", text="two")
    assert slow.get_nowait()["text"] == "one"
    assert slow.empty()
    assert [quick.get_nowait()["text"] for _ in range(2)] == ["one", "two"]


def test_source_is_this_file(client, main):
    with open(main.__file__, encoding="utf-8") as file:
        assert client.get("/api/source").text == file.read()


def test_source_is_left_to_a_server_that_sends_files(main, store):
    messages = asyncio.run(
        exchange(
            main.app,
            "/api/source",
            root_path="/api",
            state={"store": store},
            extensions=("http.response.pathsend",),
        )
    )
    assert messages[-1] == {"type": "http.response.pathsend", "path": main.__file__}
