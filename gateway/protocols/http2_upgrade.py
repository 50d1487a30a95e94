"""HTTP/1.1 requests that ask for HTTP/2 (RFC 7540, section 3.2)."""

from __future__ import annotations

from typing import Final

from gateway.head import RequestHead
from gateway.protocols.http2_errors import Http2Error
from gateway.protocols.http2_rules import parse_h2c_settings
from gateway.protocols.http2_settings import read_settings

__all__ = ["asks_for_http2"]

# A proxy that passed the request on says so, if only by these: then the Upgrade is not its own, and
# taking it would open a tunnel past the proxy's rules.
_PASSED_ON: Final = frozenset((b"via", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"))
_SETTINGS_BYTES: Final = 1024  # there are ten settings, of 6 bytes each
_OF_THE_CONNECTION: Final = frozenset((b"connection", b"upgrade", b"http2-settings", b"keep-alive"))


def asks_for_http2(head: RequestHead) -> tuple[RequestHead, bytes] | None:
    """The request as stream 1 has it, and the settings of its client; None to stay in HTTP/1.1.

    head: of a request whose `upgrade` is b"h2c". One with a body stays: the server may choose.
    """
    settings: list[bytes] = []
    options: list[bytes] = []
    for name, value in head.headers:
        if name in _PASSED_ON:
            return None
        if name == b"http2-settings":
            settings.append(value)
        elif name == b"connection":
            options += [option.strip(b" \t").lower() for option in value.split(b",")]
    if len(settings) != 1 or b"http2-settings" not in options or head.content_length != 0:
        return None
    try:
        if len(settings[0]) > _SETTINGS_BYTES:
            return None
        payload = parse_h2c_settings(settings[0])
        list(read_settings(payload))
    except (ValueError, Http2Error):
        return None
    head.headers = [field for field in head.headers if field[0] not in _OF_THE_CONNECTION]
    head.version = "2"
    head.upgrade = None
    return head, payload
