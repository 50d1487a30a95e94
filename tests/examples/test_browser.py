"""The examples in a browser: what only scripts and a real renderer can tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from .browser import Browser, Page

pytestmark = pytest.mark.slow

Visit = Callable[[str], Page]


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser.started(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def visit(browser, demo) -> Iterator[Visit]:
    """Each call is another visitor, who opens this path."""
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(
            browser.visitor(f"http://127.0.0.1:{demo.port}{path}")
        )


def join(page: Page, name: str) -> None:
    page.type("#name", name)
    page.click("#join button")


def say(page: Page, text: str) -> None:
    page.type("#text", text)
    page.click("#say button")


def sign(page: Page, name: str, message: str) -> None:
    page.type("#sign [name=name]", name)
    page.type("#sign [name=message]", message)
    page.click("#sign button")


def test_home_page_has_links_to_all_mounts(visit):
    page = visit("/")
    for link in ("/flask/", "/api/", "/raw/", "/legacy/"):
        page.wait_for(f'a[href="{link}"]')


def test_docs_page_shows_the_operations(visit):
    page = visit("/api/docs")
    # Swagger UI has run: it loaded itself and the schema from under the prefix.
    page.wait_for("#operations-default-create_note_notes_post.opblock-post")
    page.wait_for_text("select option", "/api")


def test_admin_shows_its_login_form(visit):
    page = visit("/admin/")
    page.wait_for("#login-form")
    assert page.evaluate("document.querySelector('[name=next]').value") == "/admin/"


def test_chat_brings_what_one_visitor_says_to_another(visit):
    ann, bob = visit("/api/chat"), visit("/api/chat")
    join(ann, "Ann")
    ann.wait_for_text("#log .joined", "Ann has joined")
    join(bob, "Bob")
    ann.wait_for_text("#log .joined", "Bob has joined")
    ann.wait_for_text("#state", "In the room: 2")
    say(bob, "Zażółć gęślą jaźń")
    ann.wait_for_text("#log .said", "Bob: Zażółć gęślą jaźń")
    say(ann, "hello")
    bob.wait_for_text("#log .said", "Ann: hello")


def test_chat_shows_html_as_text(visit):
    page = visit("/api/chat")
    join(page, "<i>Ann</i>")
    say(page, "<img src=x onerror=alert(1)>")
    page.wait_for_text("#log .said", "<i>Ann</i>: <img src=x onerror=alert(1)>")
    assert page.evaluate("document.querySelectorAll('#log img, #log i').length") == 0


def test_chat_notices_that_a_visitor_left(visit):
    ann, bob = visit("/api/chat"), visit("/api/chat")
    join(ann, "Ann")
    ann.wait_for_text("#log .joined", "Ann has joined")
    join(bob, "Bob")
    ann.wait_for_text("#log .joined", "Bob has joined")
    bob.close()
    ann.wait_for_text("#log .left", "Bob has left")


def test_chat_can_be_joined_again_after_the_end(visit):
    page = visit("/api/chat")
    join(page, "Ann")
    page.type("#text", "x")
    # More than the page lets anybody type.
    page.evaluate("document.querySelector('#text').value = 'x'.repeat(501)")
    page.click("#say button")
    page.wait_for_text(
        "#state", "The connection has ended: 1008 Please send text, at most 500 characters."
    )
    page.click("#join button")
    page.wait_for("#text")


def test_guestbook_shows_an_entry_on_every_open_page(visit):
    ann, bob = visit("/guestbook/"), visit("/guestbook/")
    for page in (ann, bob):
        page.wait_for_text("#live", "Live: new entries appear by themselves.")
        page.evaluate("window.loadedOnce = true")
    sign(ann, "Ann", "A <b>live</b> entry")
    for page in (ann, bob):
        page.wait_for_text("#entries article:first-child p", "A <b>live</b> entry")
        assert page.evaluate("window.loadedOnce")
    ann.wait_for_text("#live", "Thank you.")


def test_guestbook_says_live_what_is_wrong_with_an_entry(visit):
    page = visit("/guestbook/")
    page.wait_for_text("#live", "Live: new entries appear by themselves.")
    sign(page, "Spam", "https://a.example https://b.example")
    page.wait_for_text("#live", "At most one link, please.")


def test_guestbook_knows_over_its_socket_who_is_signed_in(visit):
    page = visit("/login/?next=/guestbook/")
    page.type("[name=username]", "admin")
    page.type("[name=password]", "admin")
    page.click("main button")
    page.wait_for_text("#live", "Live as admin: new entries appear by themselves.")


def test_guestbook_is_live_under_a_prefix(browser, mounted):
    with browser.visitor(f"http://127.0.0.1:{mounted.port}/site/guestbook/") as page:
        page.wait_for_text("#live", "Live: new entries appear by themselves.")
        sign(page, "Ann", "under a prefix")
        page.wait_for_text("#live", "Thank you.")
        page.wait_for_text("#entries p", "under a prefix")


def test_guestbook_posts_its_form_where_there_is_no_websocket(browser, mounted):
    with browser.visitor(f"http://127.0.0.1:{mounted.port}/wsgi/guestbook/") as page:
        sign(page, "Ann", "without a socket")
        page.wait_for_text("p.message", "Thank you, Ann.")
        page.wait_for_text("#entries p", "without a socket")
