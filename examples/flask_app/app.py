"""A Flask application that works wherever it is mounted.

Alone: ``gateway --app-dir examples flask_app.app:app``. Nothing below knows its prefix.
gateway.toml mounts it at /flask, the server passes that on as SCRIPT_NAME, and url_for puts it in
front of every link, redirect and static file.
"""

import os
import time
from http import HTTPStatus

from flask import (
    Flask,
    flash,
    redirect,
    render_template,
    request,
    session,
    stream_with_context,
    url_for,
)
from werkzeug.exceptions import HTTPException

MOST_ITEMS = 20  # the list lives in a cookie, and browsers keep 4 KiB of one
LONGEST_ITEM = 60
MOST_LINES = 60
PAUSE = 0.5  # seconds

app = Flask(__name__)
app.config.update(
    # The session cookie is signed with it: this one is public, so anyone can forge a session.
    SECRET_KEY=os.environ.get("FLASK_SECRET_KEY", "for-the-demo-only-set-FLASK_SECRET_KEY"),
    # A name of its own: applications mounted side by side share one cookie jar.
    SESSION_COOKIE_NAME="flask_session",
    SESSION_COOKIE_SAMESITE="Lax",  # other sites' forms come without it
    MAX_CONTENT_LENGTH=64 * 1024,
)


@app.get("/")
def index():
    return render_template("index.html", items=session.get("items", []), longest=LONGEST_ITEM)


@app.post("/items")
def add_item():
    item = request.form.get("item", "").strip()
    items = session.get("items", [])
    if not item or len(item) > LONGEST_ITEM:
        flash(f"An item has 1 to {LONGEST_ITEM} characters.")
    elif len(items) >= MOST_ITEMS:
        flash(f"{MOST_ITEMS} items are enough.")
    else:
        session["items"] = [*items, item]
        flash(f"{item} is on the list.")
    # Post, redirect, get: reloading the page does not post again.
    return redirect(url_for("index"), HTTPStatus.SEE_OTHER)


@app.post("/items/clear")
def clear_items():
    session.pop("items", None)
    flash("The list is empty.")
    return redirect(url_for("index"), HTTPStatus.SEE_OTHER)


@app.get("/hello/<name>")
def hello(name):
    return render_template("hello.html", name=name)


@app.get("/moved")
def moved():
    return redirect(url_for("hello", name="you"), HTTPStatus.MOVED_PERMANENTLY)


@app.get("/info.json")
def info():
    """What the server said about this request (PEP 3333)."""
    environ = request.environ
    return {
        "script_name": environ["SCRIPT_NAME"],
        "path_info": environ["PATH_INFO"],
        "url": request.url,
        "link": url_for("hello", name="you"),
        "server": environ.get("SERVER_SOFTWARE"),
        "protocol": environ["SERVER_PROTOCOL"],
        "multithread": environ["wsgi.multithread"],
        "multiprocess": environ["wsgi.multiprocess"],
    }


@app.get("/stream/<int:count>")
def stream(count):
    def lines():
        for number in range(1, min(count, MOST_LINES) + 1):
            yield f"line {number} of {request.path}\n"
            time.sleep(PAUSE)

    # Without stream_with_context the request is gone by the time the generator runs.
    return stream_with_context(lines()), {"Content-Type": "text/plain; charset=utf-8"}


@app.get("/boom")
def boom():
    raise RuntimeError("this page always fails; the traceback is in the server's log")


@app.errorhandler(HTTPException)
def error_page(error):
    """Also for an exception in a view: Flask logs it and makes a 500 of it."""
    return render_template("error.html", error=error), error.code
