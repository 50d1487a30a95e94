"""What frameworks do with a prefix: links, redirects, static files and docs, at / and at /sub."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from e2e.apps.board import BOARD
from e2e.conftest import make_server

BESIDE = "e2e.apps.scenarios_asgi:app3"


@pytest.fixture(params=["", "/sub"], ids=["root", "sub"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(request: pytest.FixtureRequest, shared) -> Iterator[httpx2.Client]:
    """The framework a test's name begins with, at / and /sub, another application below."""
    framework = request.node.name.split("_")[1]
    app = f"e2e.apps.frameworks:{framework}_app"
    server = shared(mounts={"/": app, "/sub": app, "/sub/beside": BESIDE})
    with httpx2.Client(base_url=server.url, trust_env=False) as client:
        yield client


def base(site: httpx2.Client) -> str:
    return str(site.base_url).rstrip("/")


# --- Starlette ------------------------------------------------------------------------------------


def test_starlette_builds_links_with_the_prefix(site, prefix):
    seen = site.get(f"{prefix}/where").json()
    assert seen == {
        "url_for": f"{base(site)}{prefix}/where",
        "url": f"{base(site)}{prefix}/where",
        "base_url": f"{base(site)}{prefix}/",
        "path": f"{prefix}/where",
        "root_path": prefix,
    }


def test_starlette_finds_routes_in_its_own_mounts(site, prefix):
    seen = site.get(f"{prefix}/nested/where").json()
    assert (seen["path"], seen["root_path"]) == (f"{prefix}/nested/where", f"{prefix}/nested")


def test_starlette_redirects_keep_the_prefix(site, prefix):
    for path, target in (("/go", "/where"), ("/slash", "/slash/")):
        answer = site.get(f"{prefix}{path}")
        assert answer.status_code == 307
        assert answer.headers["location"] == f"{base(site)}{prefix}{target}"


def test_starlette_reads_bodies_and_forms(site, prefix):
    assert site.post(f"{prefix}/body", content=b"x" * 300_000).json() == {"size": 300_000}
    answer = site.post(f"{prefix}/form", files={"file": ("a.txt", b"y" * 200_000)})
    assert answer.json() == {"name": "a.txt", "size": 200_000}


def test_starlette_sends_files_and_ranges(site, prefix):
    whole = site.get(f"{prefix}/file")
    part = site.get(f"{prefix}/file", headers={"range": "bytes=3-9"})
    assert whole.content.startswith(b'"""One small application')
    assert (part.status_code, part.content) == (206, whole.content[3:10])
    unchanged = site.head(f"{prefix}/file")
    assert unchanged.headers["content-length"] == str(len(whole.content))


def test_starlette_works_on_after_the_response(site, prefix, key):
    assert site.get(f"{prefix}/background?key={key}").json() == {"ok": True}
    BOARD.wait(key, "begun")
    # The answer is complete and the connection serves others while the work goes on.
    assert site.get(f"{prefix}/where").status_code == 200
    BOARD.gate(key).set()
    BOARD.wait(key, "done")


def test_starlette_ends_an_event_stream_when_the_client_leaves(site, prefix, key, log):
    with site.stream("GET", f"{prefix}/events?key={key}") as answer:
        assert next(answer.iter_lines()) == "data: tick"
    BOARD.wait(key, "ended", timeout=1.0)
    assert log.errors == []


def test_starlette_sees_by_asking_that_the_client_left(site, prefix, key, log):
    with site.stream("GET", f"{prefix}/polls?key={key}") as answer:
        assert next(answer.iter_lines()) == "tick"
    BOARD.wait(key, "disconnected", timeout=1.0)
    assert log.errors == []


def test_starlette_errors_are_a_500_or_a_cut_and_logged(site, prefix, log):
    assert site.get(f"{prefix}/trouble").status_code == 500
    log.wait("trouble in starlette")
    with pytest.raises(httpx2.RemoteProtocolError):
        site.get(f"{prefix}/late")
    log.wait("late trouble in starlette")
    assert site.get(f"{prefix}/where").status_code == 200


# --- Starlette behind a double callable ------------------------------------------------------------


def test_asgi2_starlette_builds_links_and_redirects_with_the_prefix(site, prefix):
    seen = site.get(f"{prefix}/where").json()
    assert seen["url_for"] == f"{base(site)}{prefix}/where"
    assert (seen["path"], seen["root_path"]) == (f"{prefix}/where", prefix)
    for path, target in (("/go", "/where"), ("/slash", "/slash/")):
        answer = site.get(f"{prefix}{path}")
        assert answer.headers["location"] == f"{base(site)}{prefix}{target}"


def test_asgi2_starlette_reads_forms_and_sends_files(site, prefix):
    answer = site.post(f"{prefix}/form", files={"file": ("a.txt", b"y" * 200_000)})
    assert answer.json() == {"name": "a.txt", "size": 200_000}
    part = site.get(f"{prefix}/file", headers={"range": "bytes=3-9"})
    assert (part.status_code, part.content) == (206, b"One sma")


def test_asgi2_starlette_ends_an_event_stream_when_the_client_leaves(site, prefix, key, log):
    with site.stream("GET", f"{prefix}/events?key={key}") as answer:
        assert next(answer.iter_lines()) == "data: tick"
    BOARD.wait(key, "ended", timeout=1.0)
    assert log.errors == []


def test_asgi2_starlette_errors_are_a_500_and_logged(site, prefix, log):
    assert site.get(f"{prefix}/trouble").status_code == 500
    log.wait("trouble in starlette")


# --- FastAPI --------------------------------------------------------------------------------------


def test_fastapi_builds_links_and_redirects_with_the_prefix(site, prefix):
    assert site.get(f"{prefix}/where").json() == {
        "url_for": f"{base(site)}{prefix}/where",
        "url": f"{base(site)}{prefix}/where",
    }
    answer = site.get(f"{prefix}/slash")
    assert answer.headers["location"] == f"{base(site)}{prefix}/slash/"
    assert site.get(f"{prefix}/slash/").json() == "slash"


def test_fastapi_docs_work_under_the_prefix(site, prefix):
    page = site.get(f"{prefix}/docs").text
    assert f"'{prefix}/openapi.json'" in page
    schema = site.get(f"{prefix}/openapi.json").json()
    if prefix:
        assert schema["servers"] == [{"url": prefix}]
    assert "/where" in schema["paths"]


def test_fastapi_reads_uploads_and_survives_errors_in_threads(site, prefix, log):
    answer = site.post(f"{prefix}/form", files={"file": ("a.txt", b"y" * 2_000_000)})
    assert answer.json() == {"name": "a.txt", "size": 2_000_000}
    assert site.get(f"{prefix}/trouble").status_code == 500
    log.wait("trouble in a thread")
    assert site.post(f"{prefix}/form").status_code == 422


# --- Flask ----------------------------------------------------------------------------------------


def test_flask_builds_links_with_the_prefix(site, prefix):
    assert site.get(f"{prefix}/where?x=1").json() == {
        "url_for": f"{prefix}/where",
        "static": f"{prefix}/static/hello.txt",
        "url": f"{base(site)}{prefix}/where?x=1",
        "script_root": prefix,
        "path": "/where",
    }


def test_flask_serves_static_files(site, prefix):
    answer = site.get(f"{prefix}/static/hello.txt")
    assert answer.text == "hello static\n"
    again = site.get(
        f"{prefix}/static/hello.txt", headers={"if-none-match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_flask_redirects_keep_the_prefix(site, prefix):
    assert site.get(f"{prefix}/go").headers["location"] == f"{prefix}/where"
    answer = site.get(f"{prefix}/slash")
    assert answer.headers["location"] == f"{base(site)}{prefix}/slash/"


def test_flask_reads_forms(site, prefix):
    answer = site.post(f"{prefix}/form", files={"file": ("a.txt", b"y" * 200_000)})
    assert answer.json() == {"name": "a.txt", "size": 200_000}


def test_flask_streams_and_sends_files(site, prefix):
    assert site.get(f"{prefix}/stream").text == "/stream 0\n/stream 1\n/stream 2\n"
    whole = site.get(f"{prefix}/file")
    part = site.get(f"{prefix}/file", headers={"range": "bytes=3-9"})
    assert whole.content.startswith(b'"""One small application')
    assert (part.status_code, part.content) == (206, whole.content[3:10])
    assert site.head(f"{prefix}/file").headers["content-length"] == str(len(whole.content))


def test_flask_keeps_a_session_and_survives_errors(site, prefix, log):
    assert [site.get(f"{prefix}/session").text for _ in range(2)] == ["1", "2"]
    assert site.get(f"{prefix}/trouble").status_code == 500
    assert site.get(f"{prefix}/where").status_code == 200


# --- Quart ----------------------------------------------------------------------------------------


def test_quart_builds_links_with_the_prefix(site, prefix):
    assert site.get(f"{prefix}/where").json() == {
        "url_for": f"{prefix}/where",
        "url": f"{base(site)}{prefix}/where",
    }


def test_quart_redirects_keep_the_prefix(site, prefix):
    assert site.get(f"{prefix}/go").headers["location"] == f"{prefix}/where"


def test_quart_reads_bodies_and_streams(site, prefix):
    assert site.get(f"{prefix}/stream").text == "0\n1\n2\n"
    assert site.post(f"{prefix}/body", content=b"x" * 300_000).json() == {"size": 300_000}


# --- Litestar -------------------------------------------------------------------------------------


def test_litestar_builds_links_with_the_prefix(site, prefix):
    assert site.get(f"{prefix}/where").json() == {
        "url": f"{base(site)}{prefix}/where",
        "url_for": f"{base(site)}{prefix}/where",
    }


def test_litestar_redirects_keep_the_prefix(site, prefix):
    assert site.get(f"{prefix}/go").headers["location"] == f"{base(site)}{prefix}/where"


def test_litestar_reads_bodies(site, prefix):
    assert site.post(f"{prefix}/body", content=b"x" * 300_000).json() == {"size": 300_000}


# --- Django, which has one settings module per process --------------------------------------------


@pytest.fixture(scope="module")
def django(tmp_path_factory) -> Iterator[httpx2.Client]:
    from e2e.process import Gateway

    mounts = {
        "/": "e2e.apps.djsite.asgi:application",
        "/asgi": "e2e.apps.djsite.asgi:application",
        "/asgi2": "e2e.apps.djsite.asgi2:application",
        "/wsgi": "e2e.apps.djsite.wsgi:application",
        "/channels": "e2e.apps.djsite.routing:application",
        "wsgi.test/": "e2e.apps.djsite.wsgi:application",
    }
    args = [word for key, app in mounts.items() for word in ("--mount", f"{key}={app}")]
    directory = tmp_path_factory.mktemp("django")
    with Gateway([*args, "--port", "0"], directory) as process:
        process.ready()
        with httpx2.Client(base_url=f"http://127.0.0.1:{process.port}", trust_env=False) as client:
            yield client


MOUNTS = [
    pytest.param("", "ASGIRequest", id="root"),
    pytest.param("/asgi", "ASGIRequest", id="asgi"),
    pytest.param("/asgi2", "ASGIRequest", id="asgi2"),
    pytest.param("/wsgi", "WSGIRequest", id="wsgi"),
    pytest.param("/channels", "ASGIRequest", id="channels"),
]


@pytest.mark.parametrize(("at", "kind"), MOUNTS)
class TestDjango:
    def test_links_have_the_prefix(self, django, at, kind):
        assert django.get(f"{at}/where/?x=1").json() == {
            "reverse": f"{at}/where/",
            "absolute": f"{base(django)}{at}/where/?x=1",
            "path": f"{at}/where/",
            "path_info": "/where/",
            "kind": kind,
            "secure": False,
        }

    def test_redirects_keep_the_prefix(self, django, at, kind):
        assert django.get(f"{at}/where").headers["location"] == f"{at}/where/"
        assert django.get(f"{at}/go/").headers["location"] == f"{at}/where/"

    def test_uploads_streams_files_and_errors(self, django, at, kind):
        assert (
            django.post(f"{at}/upload/", files={"file": ("a", b"z" * 3_000_000)}).text == "3000000"
        )
        assert django.get(f"{at}/stream/").text == "0 1 2 "
        assert b"FileResponse" in django.get(f"{at}/file/").content
        assert django.get(f"{at}/trouble/").status_code == 500
        assert django.get(f"{at}/nothing/").status_code == 404


def test_django_at_a_host_of_its_own(django):
    seen = django.get("/where/", headers={"host": "wsgi.test"}).json()
    assert (seen["kind"], seen["absolute"]) == ("WSGIRequest", "http://wsgi.test/where/")


def test_django_behind_a_proxy_that_ends_tls(django):
    seen = django.get(
        "/wsgi/where/",
        headers={"x-forwarded-proto": "https", "x-forwarded-host": "shop.test"},
    ).json()
    assert seen["secure"] is True
    assert seen["absolute"] == "https://shop.test/wsgi/where/"


def test_two_django_projects_are_refused(gateway):
    process = gateway(
        "--mount", "/a=e2e.apps.djsite.wsgi:application",
        "--mount", "/b=e2e.apps.djother.wsgi:application",
        "--port", "0",
    )  # fmt: skip
    assert process.wait() == 3
    assert "two Django projects in one process" in process.err.text
    assert "e2e.apps.djother.settings" in process.err.text


# --- hosts, root paths, shared applications, middleware -------------------------------------------


def fetch(server, path, host="test"):
    with httpx2.Client(base_url=server.url, trust_env=False) as client:
        return client.get(path, headers={"host": host})


def test_host_mounts(serve):
    server = serve(
        mounts={
            "admin.example.com/": "e2e.apps.small:named_admin",
            "*.example.com/": "e2e.apps.small:named_wild",
            "example.com/api": "e2e.apps.small:named_api",
        }
    )
    assert fetch(server, "/", "admin.example.com").text == "admin "
    assert fetch(server, "/x", "ADMIN.example.com:80").text == "admin "
    assert fetch(server, "/", "other.example.com").text == "wild "
    assert fetch(server, "/api/x", "example.com").text == "api /api"
    assert fetch(server, "/", "example.com").status_code == 404
    assert fetch(server, "/", "elsewhere.test").status_code == 404


def test_an_empty_root_path_routes_without_mounting(serve):
    server = serve(
        mounts={
            "/ws": {"app": "e2e.apps.small:named_api", "root_path": ""},
            "/w": {"app": "e2e.apps.scenarios_wsgi:app", "root_path": ""},
        }
    )
    assert fetch(server, "/ws/chat").text == "api "
    assert fetch(server, "/w/path").status_code == 404  # the application sees the whole path


def test_the_outer_root_path_comes_before_the_mount(serve):
    server = serve(mounts={"/in": "e2e.apps.frameworks:flask_app"}, root_path="/out")
    seen = fetch(server, "/in/where").json()
    assert (seen["url_for"], seen["script_root"]) == ("/out/in/where", "/out/in")


def test_one_import_string_is_one_application_with_one_lifespan(serve):
    from e2e.apps import small

    small.LIFESPANS.clear()
    with make_server(
        mounts={"/a": "e2e.apps.small:counted", "/b": "e2e.apps.small:counted"}
    ) as server:
        assert fetch(server, "/a").json()["started"] == 1
        assert fetch(server, "/b").json()["started"] == 1
    assert small.LIFESPANS == ["startup", "shutdown"]


def test_middleware_wraps_the_application_outermost_first(serve):
    use = "e2e.apps.small:AsgiTag"
    server = serve(
        mounts={
            "/asgi": {
                "app": "e2e.apps.small:named_api",
                "middleware": [{"use": use, "tag": "outer"}, {"use": use, "tag": "inner"}],
            },
            "/wsgi": {
                "app": "e2e.apps.frameworks:flask_app",
                "middleware": [{"use": "e2e.apps.small:WsgiTag", "tag": "w"}],
            },
            "/mixed": {
                "app": "e2e.apps.frameworks:flask_app",
                "middleware": [
                    {"use": use, "tag": "a"},
                    {"use": "e2e.apps.small:WsgiTag", "tag": "w"},
                ],
            },
        }
    )
    assert fetch(server, "/asgi").headers.get_list("x-tag") == ["inner", "outer"]
    assert fetch(server, "/wsgi/where").headers.get_list("x-tag") == ["w"]
    mixed = fetch(server, "/mixed/where")
    assert mixed.headers.get_list("x-tag") == ["w", "a"]
    assert mixed.json()["url_for"] == "/mixed/where"


def test_starlettes_own_middleware_from_settings(serve):
    server = serve(
        mounts={
            "/": {
                "app": "e2e.apps.frameworks:starlette_app",
                "middleware": [
                    {"use": "starlette.middleware.gzip:GZipMiddleware", "minimum_size": 10}
                ],
            }
        }
    )
    assert fetch(server, "/where").headers["content-encoding"] == "gzip"


def test_starlettes_base_class_for_middleware(serve, key, log):
    server = serve(
        mounts={
            "/": {
                "app": "e2e.apps.frameworks:starlette_app",
                "middleware": ["e2e.apps.frameworks:PassingMiddleware"],
            }
        }
    )
    with httpx2.Client(base_url=server.url, trust_env=False) as client:
        assert client.post("/body", content=b"x" * 300_000).json() == {"size": 300_000}
        assert client.get("/file").headers["x-passed"] == "yes"
        assert client.get(f"/background?key={key}").headers["x-passed"] == "yes"
        BOARD.gate(key).set()
        BOARD.wait(key, "done")
        with client.stream("GET", f"/events?key={key}e") as answer:
            assert next(answer.iter_lines()) == "data: tick"
        BOARD.wait(f"{key}e", "ended", timeout=1.0)
    assert log.errors == []
