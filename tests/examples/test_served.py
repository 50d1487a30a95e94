"""The examples as a newcomer meets them: gateway.toml served by a process, over a socket."""

from __future__ import annotations

import io
import os
import re
import time
from collections.abc import Iterator
from html import unescape

import httpx2
import pytest
from e2e.client import Http1Client

pytestmark = pytest.mark.slow


@pytest.fixture
def visitor(demo) -> Iterator[httpx2.Client]:
    """A browser's cookies, without its scripts; redirects are shown."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{demo.port}", trust_env=False) as client:
        yield client


@pytest.fixture
def wire(demo) -> Iterator[Http1Client]:
    with demo.client() as client:
        yield client


def links(page: httpx2.Response) -> list[str]:
    return [unescape(link) for link in re.findall(r'<a\b[^>]* href="([^"]+)"', page.text)]


def token(page: httpx2.Response) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found is not None
    return found[1]


def submit(visitor: httpx2.Client, path: str, data: dict, **options) -> httpx2.Response:
    """Load a form's page, fill it in and send it, as a browser does."""
    form = {"csrfmiddlewaretoken": token(visitor.get(path)), **data}
    return visitor.post(path, data=form, **options)


# --- every mount ----------------------------------------------------------------------------------

TITLES = {
    "/": "Home · Django under gateway",
    "/flask/": "List · Flask under gateway",
    "/api/": "Notes · FastAPI under gateway",
    "/raw/": "Raw ASGI 3 under gateway",
    "/legacy/": "ASGI 2 under gateway",
}


@pytest.mark.parametrize("path", TITLES)
def test_home_page_of_every_mount(visitor, path):
    page = visitor.get(path)
    assert page.status_code == 200
    assert f"<title>{TITLES[path]}</title>" in page.text


def test_home_page_leads_to_every_mount(visitor):
    assert set(TITLES) - {"/"} <= set(links(visitor.get("/")))


def test_a_path_that_only_begins_like_a_mount_is_djangos(visitor):
    answer = visitor.get("/apix")
    assert answer.status_code == 404
    assert "Using the URLconf defined in" in answer.text


# --- Django ---------------------------------------------------------------------------------------


def test_django_lets_the_admin_in(visitor):
    asked = visitor.get("/admin/")
    assert (asked.status_code, asked.headers["location"]) == (302, "/admin/login/?next=/admin/")
    user = {"username": "admin", "password": "admin", "next": "/admin/"}
    answer = submit(visitor, "/admin/login/", user)
    assert (answer.status_code, answer.headers["location"]) == (302, "/admin/")
    assert "Site administration" in visitor.get("/admin/").text


def test_django_refuses_a_form_without_its_token(visitor):
    visitor.get("/guestbook/")
    answer = visitor.post("/guestbook/", data={"name": "Eve", "message": "hello"})
    assert answer.status_code == 403


def test_django_stores_what_a_form_says(visitor):
    answer = submit(visitor, "/guestbook/", {"name": "Ann", "message": "Zażółć <b>gęślą</b>"})
    assert (answer.status_code, answer.headers["location"]) == (302, "/guestbook/")
    page = visitor.get("/guestbook/").text
    assert "Thank you, Ann." in page
    assert "Zażółć &lt;b&gt;gęślą&lt;/b&gt;" in page


def test_django_gives_an_upload_back(visitor):
    content = os.urandom(3_000_000)  # larger than what Django keeps in memory
    answer = submit(visitor, "/files/", {}, files={"file": ("data.bin", io.BytesIO(content))})
    assert answer.headers["location"] == "/files/"
    (path,) = re.findall(r'<a href="(/files/\d+/)">data\.bin</a>', visitor.get("/files/").text)
    answer = visitor.get(path)
    assert answer.headers["content-disposition"] == 'attachment; filename="data.bin"'
    assert answer.headers["content-length"] == "3000000"
    assert answer.content == content


def test_django_appends_a_slash(visitor):
    answer = visitor.get("/guestbook")
    assert (answer.status_code, answer.headers["location"]) == (301, "/guestbook/")


def test_django_streams_line_by_line(visitor):
    with visitor.stream("GET", "/countdown/1/") as answer:
        arrived = [(line, time.monotonic()) for line in answer.iter_lines()]
    assert [line for line, _ in arrived] == ["1", "Liftoff!"]
    # The view pauses half a second between the two.
    assert arrived[1][1] - arrived[0][1] > 0.25


@pytest.mark.parametrize("path", ["/static/guestbook/style.css", "/static/admin/css/base.css"])
def test_django_serves_static_files(visitor, path):
    answer = visitor.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/css")
    again = visitor.get(path, headers={"if-modified-since": answer.headers["last-modified"]})
    assert (again.status_code, again.content) == (304, b"")


def test_django_counts_the_visits_of_one_visitor(visitor):
    for visits in (1, 2):
        assert f"<strong>{visits}</strong>" in visitor.get("/").text


# --- Flask ----------------------------------------------------------------------------------------


def test_flask_links_stay_under_its_prefix_and_lead_somewhere(visitor):
    own = [link for link in links(visitor.get("/flask/")) if link not in ("/", "#main")]
    assert len(own) >= 5
    assert [link for link in own if not link.startswith("/flask/")] == []
    statuses = {}
    for link in own:
        with visitor.stream("GET", link) as answer:  # not to the end: one of them takes its time
            statuses[link] = answer.status_code
    assert statuses.pop("/flask/moved") == 301
    assert statuses.pop("/flask/boom") == 500
    assert set(statuses.values()) == {200}


def test_flask_redirects_under_its_prefix(visitor):
    assert visitor.get("/flask/moved").headers["location"] == "/flask/hello/you"


def test_flask_style_sheet_is_where_its_page_says(visitor):
    (path,) = re.findall(r'<link rel="stylesheet" href="([^"]+)">', visitor.get("/flask/").text)
    assert path.startswith("/flask/static/")
    assert visitor.get(path).headers["content-type"].startswith("text/css")


def test_flask_keeps_a_list_in_its_session(visitor):
    answer = visitor.post("/flask/items", data={"item": "tea & milk"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/flask/")
    page = visitor.get("/flask/").text
    assert "<li>tea &amp; milk</li>" in page
    assert "tea &amp; milk is on the list." in page


def test_sessions_of_two_applications_do_not_disturb_each_other(visitor):
    visitor.get("/")
    visitor.post("/flask/items", data={"item": "tea"})
    assert "<strong>2</strong>" in visitor.get("/").text
    assert "<li>tea</li>" in visitor.get("/flask/").text


# --- FastAPI --------------------------------------------------------------------------------------


def test_fastapi_docs_name_a_schema_that_is_there(visitor):
    page = visitor.get("/api/docs").text
    found = re.search(r"url: '([^']+)'", page)
    assert found is not None
    assert found[1] == "/api/openapi.json"
    schema = visitor.get(found[1]).json()
    assert schema["servers"] == [{"url": "/api"}]
    assert {"/notes", "/files", "/events"} <= set(schema["paths"])


def test_fastapi_docs_load_their_scripts_and_styles_from_here(visitor):
    page = visitor.get("/api/docs").text
    files = re.findall(r'(?:src|href)="([^"]+\.(?:js|css))"', page)
    assert files
    assert {path: visitor.get(path).status_code for path in files} == dict.fromkeys(files, 200)


def test_fastapi_created_note_is_where_it_says(visitor):
    answer = visitor.post("/api/notes", json={"title": "Tea", "text": "with milk"})
    assert answer.status_code == 201
    assert answer.headers["location"].startswith("/api/notes/")
    assert visitor.get(answer.headers["location"]).json()["title"] == "Tea"


def test_fastapi_digests_an_upload(visitor):
    answer = visitor.post("/api/files", files={"file": ("zeros.bin", bytes(2_000_000))})
    assert (answer.json()["name"], answer.json()["size"]) == ("zeros.bin", 2_000_000)


def test_fastapi_events_arrive_and_end(visitor):
    with visitor.stream("GET", "/api/events?count=3&interval=0.02") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line.startswith("id:")]
    assert lines == ["id: 0", "id: 1", "id: 2"]


def test_fastapi_notices_that_a_watcher_left(visitor):
    with visitor.stream("GET", "/api/events?count=3600&interval=0.02") as answer:
        next(answer.iter_lines())
        assert visitor.get("/api/status").json()["watchers"] == 1
    deadline = time.monotonic() + 5
    while visitor.get("/api/status").json()["watchers"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert visitor.get("/api/status").json()["watchers"] == 0


def test_fastapi_sends_a_file_from_the_disk(visitor, examples):
    source = (examples / "fastapi_app/main.py").read_bytes()
    assert visitor.get("/api/source").content == source


# --- ASGI without a framework ---------------------------------------------------------------------


def test_raw_page_announces_its_style_sheet_early(wire):
    answer = wire.request("GET", "/raw/")
    assert answer.interim == [(103, [("link", "</raw/style.css>; rel=preload; as=style")])]
    assert answer.status == 200
    assert wire.request("GET", "/raw/style.css").header("content-type") == "text/css"


def test_raw_echo_ends_with_a_digest_in_its_trailers(wire):
    answer = wire.request("POST", "/raw/echo", [("te", "trailers")], b"hello")
    assert answer.body == b"hello"
    digest = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:"
    assert answer.trailers == [("repr-digest", digest)]


def test_raw_scope_has_the_prefix(visitor):
    scope = visitor.get("/raw/scope?x=1").json()
    assert (scope["path"], scope["root_path"]) == ("/raw/scope", "/raw")
    assert scope["asgi"]["version"] == "3.0"


def test_legacy_weighs_a_body(visitor):
    page = visitor.post("/legacy/", content=b"x" * 300_000).text
    assert "POST <code>/legacy/</code>, mounted at <code>/legacy</code>: 300000 bytes" in page
