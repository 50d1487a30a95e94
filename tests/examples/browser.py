"""A real browser, asked over its own debugging protocol to open pages, type and click."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.program import Program, find
from e2e.process import wait_until
from websockets.sync.client import ClientConnection, connect

__all__ = ["Browser", "Page"]

FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run
    --disable-background-networking --disable-component-update --disable-sync
    --remote-debugging-port=0
""".split()


class Page:
    """A tab. Whatever fails in its scripts fails the test at the next thing asked of it."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.call("Runtime.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, session=self._session, **params)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression; what it promises, for a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_until(self, condition: str) -> None:
        """Return when the JavaScript expression is true."""
        wait_until(lambda: self.evaluate(condition), condition)

    def wait_for(self, selector: str) -> None:
        """Return when an element is there and can be seen."""
        self.wait_until(f"document.querySelector({json.dumps(selector)})?.checkVisibility()")

    def wait_for_text(self, selector: str, text: str) -> None:
        """Return when an element with this text and nothing else is there."""
        self.wait_until(
            f"[...document.querySelectorAll({json.dumps(selector)})]"
            f".some((element) => element.textContent.trim() === {json.dumps(text)})"
        )

    def type(self, selector: str, text: str) -> None:
        self.wait_for(selector)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.call("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        self.wait_for(selector)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def close(self) -> None:
        self.call("Page.close")


class Browser:
    """Chromium without a window, and the one connection over which it is told what to do."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)

    @classmethod
    @contextmanager
    def started(cls, directory: Path) -> Iterator[Browser]:
        """Skips the test where there is no chromium, but fails where CI is set.

        directory: for everything the browser writes.
        """
        chromium = find("chromium", install="apt-get install chromium")
        command = [chromium, *FLAGS, f"--user-data-dir={directory}", "about:blank"]
        with Program(command, directory) as program:
            url = program.wait_for(r"DevTools listening on (ws://\S+)")[1]
            with connect(url, proxy=None, max_size=None) as connection:
                yield cls(connection)

    @contextmanager
    def visitor(self, url: str) -> Iterator[Page]:
        """A new visitor, without cookies, who has opened `url`."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, attached["sessionId"])
        page.call("Page.navigate", url=url)
        page.wait_until("document.readyState === 'complete'")  # its scripts have run
        yield page
        self.call("Target.disposeBrowserContext", browserContextId=context)

    def call(self, method: str, *, session: str | None = None, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        request = {"id": number, "method": method, "params": params}
        if session is not None:
            request["sessionId"] = session
        self._connection.send(json.dumps(request))
        while True:
            message = json.loads(self._connection.recv(timeout=20))
            assert message.get("method") != "Runtime.exceptionThrown", message["params"]
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
