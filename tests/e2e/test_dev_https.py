"""``gateway dev --https``: one flag, and a browser may use the address that is printed."""

from __future__ import annotations

import http.client
import ssl

import pytest

from e2e.process import wait_until

pytest.importorskip("trustme")

APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"{version} " + scope["scheme"].encode()}})
"""


def test_it_is_served_and_reloaded_with_a_certificate_of_its_own(gateway, tmp_path):
    (tmp_path / "main.py").write_text(APP.format(version="v1"))
    environment = {"XDG_CACHE_HOME": str(tmp_path / ".cache"), "PATH": str(tmp_path)}
    process = gateway("dev", "main:app", "--https", "--port", "0", env=environment)
    port = int(process.err.wait(r"ready in .* on https://127\.0\.0\.1:(\d+)")[1])
    (authority,) = tmp_path.glob(".cache/gateway/certificates/*.ca.pem")
    context = ssl.create_default_context(cafile=authority)

    def ask():
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=10)
        connection.request("GET", "/")
        text = connection.getresponse().read()
        connection.close()
        return text

    assert ask() == b"v1 https"
    (tmp_path / "main.py").write_text(APP.format(version="v2 "))
    wait_until(lambda: ask() == b"v2  https", "the new code answers")
    assert process.stop() == 0
    assert process.err.text.count("made a certificate") == 1
