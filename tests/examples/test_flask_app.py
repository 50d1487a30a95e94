"""The Flask example in the shape of its mount: SCRIPT_NAME is /flask, PATH_INFO the rest."""

from __future__ import annotations

import pytest

PREFIX = "http://testserver/flask"


@pytest.fixture
def client(examples):
    from flask_app.app import app

    return app.test_client()


def test_links_carry_the_prefix(client):
    page = client.get("/", base_url=PREFIX).text
    assert 'href="/flask/hello/you"' in page
    assert 'action="/flask/items"' in page


def test_mount_without_a_slash_leads_to_the_page(client):
    environ = {"SCRIPT_NAME": "/flask", "PATH_INFO": ""}
    response = client.get("/", environ_overrides=environ)
    assert (response.status_code, response.location) == (308, "http://localhost/flask/")


def test_style_sheet_is_served_where_the_page_says(client):
    assert 'href="/flask/static/style.css"' in client.get("/", base_url=PREFIX).text
    with client.get("/static/style.css", base_url=PREFIX) as response:
        assert response.mimetype == "text/css"


def test_redirect_carries_the_prefix(client):
    response = client.get("/moved", base_url=PREFIX)
    assert (response.status_code, response.location) == (301, "/flask/hello/you")


def test_item_is_kept_in_the_session(client):
    response = client.post("/items", data={"item": "<tea>"}, base_url=PREFIX, follow_redirects=True)
    assert "<li>&lt;tea&gt;</li>" in response.text
    assert "is on the list" in response.text
    assert "is on the list" not in client.get("/", base_url=PREFIX).text


@pytest.mark.parametrize("item", ["", "   ", "x" * 61])
def test_item_of_wrong_length_is_refused(client, item):
    response = client.post("/items", data={"item": item}, follow_redirects=True)
    assert "An item has 1 to 60 characters." in response.text
    assert "Nothing on it yet." in response.text


def test_full_list_still_fits_its_cookie(client):
    for _ in range(21):
        response = client.post("/items", data={"item": "ü" * 60})
    assert len(response.headers["Set-Cookie"]) < 4096
    assert client.get("/").text.count("<li>") == 20


def test_list_is_cleared(client):
    client.post("/items", data={"item": "tea"})
    assert "Nothing on it yet." in client.post("/items/clear", follow_redirects=True).text


def test_json_shows_both_halves_of_the_path(client):
    info = client.get("/info.json", base_url=PREFIX).json
    assert (info["script_name"], info["path_info"]) == ("/flask", "/info.json")
    assert info["url"] == f"{PREFIX}/info.json"


def test_first_line_comes_before_the_last_is_made(client):
    response = client.get("/stream/60", base_url=PREFIX)
    assert next(response.iter_encoded()) == b"line 1 of /stream/60\n"
    response.close()


def test_unknown_page_has_an_error_page(client):
    response = client.get("/nope", base_url=PREFIX)
    assert response.status_code == 404
    assert "<h1>404 Not Found</h1>" in response.text
    assert 'href="/flask/"' in response.text


def test_exception_has_an_error_page(client):
    response = client.get("/boom", base_url=PREFIX)
    assert response.status_code == 500
    assert "<h1>500 Internal Server Error</h1>" in response.text


def test_large_form_is_refused(client):
    assert client.post("/items", data={"item": "x" * 70_000}).status_code == 413
