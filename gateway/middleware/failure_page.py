"""What development mode answers while the application cannot be started."""

from __future__ import annotations

from html import escape
from typing import Final

from gateway.exchange import Exchange, Handler
from gateway.head import Headers, RequestHead

__all__ = ["failure_page"]

_PAGE: Final = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{first}</title>
<style>
body {{ margin: 2rem; font: 1rem/1.5 system-ui, sans-serif; color-scheme: light dark }}
pre {{ padding: 1rem; border-left: .25rem solid #c33; overflow-x: auto; font-size: .9rem }}
</style>
</head>
<body>
<h1>The application did not start</h1>
<pre>{text}</pre>
<p>gateway waits for the next change of a file, then tries again.</p>
</body>
</html>
"""

_COMMON: Final[Headers] = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]
# The text quotes source lines, which may quote anything: nothing of it may load or run.
_HTML: Final[Headers] = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    *_COMMON,
]
_TEXT: Final[Headers] = [(b"content-type", b"text/plain; charset=utf-8"), *_COMMON]


def failure_page(text: str) -> Handler:
    """Answer every exchange 500 with `text`: as a page for a browser, else as plain text.

    text: of the error that kept the application from starting, in any number of lines. What cannot
        be printed (control characters, halves of surrogate pairs, marks that turn the direction
        of writing) is shown as Python would escape it.

    A page is for who accepts ``text/html``, so that curl and test clients get lines they can print.
    Request bodies are not read.
    """
    shown = _printable(text)
    page = _PAGE.format(first=escape(shown.partition("\n")[0]), text=escape(shown)).encode()
    plain = f"{shown}\n".encode()

    def failed(exchange: Exchange) -> None:
        if _accepts_html(exchange.head):
            exchange.start(500, [*_HTML], page)
        else:
            exchange.start(500, [*_TEXT], plain)

    return failed


def _printable(text: str) -> str:
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode()
        for char in text.strip().replace("\r\n", "\n")
    )


def _accepts_html(head: RequestHead) -> bool:
    """``text/html`` stands in an Accept field, without a weight of 0 (RFC 9110, section 12.4.2)."""
    for name, value in head.headers:
        if name == b"accept":
            for each in value.lower().split(b","):
                kind, *parameters = (part.strip() for part in each.split(b";"))
                if kind == b"text/html" and not _is_zero(parameters):
                    return True
    return False


def _is_zero(parameters: list[bytes]) -> bool:
    return any(each.startswith(b"q=0") and not each.strip(b"q=0.") for each in parameters)
