"""Sockets that this process was born with."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Final

from gateway.errors import StartError

__all__ = ["InheritedSocket", "from_systemd"]

_FIRST: Final = 3  # SD_LISTEN_FDS_START
_UNNAMED: Final = "unknown"  # what sd_listen_fds_with_names(3) calls a socket without a name
# LISTEN_PIDFDID tells the same as LISTEN_PID, of newer systemd; it goes with the others.
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")


@dataclass(frozen=True, slots=True)
class InheritedSocket:
    """A descriptor that whoever started this process has passed on, with a socket behind it.

    name: systemd's ``FileDescriptorName=``; of a former gateway, the address that asked for it, as
        ``str(bind)``. The two cannot be confused: only the latter has a colon.
    owned: a former gateway made it, so that the file of a UNIX socket is ours to remove. What
        systemd or another supervisor made stays where it is.
    queue: with ``reuse_port``, what one of its workers beside the first accepted from.
    """

    fd: int
    name: str = _UNNAMED
    owned: bool = False
    queue: bool = False


def from_systemd(environ: MutableMapping[str, str], pid: int) -> tuple[InheritedSocket, ...]:
    """Take over the sockets of a systemd ``.socket`` unit: the protocol of sd_listen_fds(3).

    environ: LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES are removed from it in any case, so that no
        program started from here takes our descriptors for its own.
    pid: of this process. Sockets meant for another one (a shell around this command did not
        ``exec``) are none; so is an environment without the variables.

    The descriptors are set to close in programs that this process starts. Nothing else is done to
    them here: what they are is looked at when an address asks for them.

    Raises `StartError` for values that systemd would not write and for descriptors not open.
    """
    values = {name: environ.pop(name, "") for name in _VARIABLES}
    if not values["LISTEN_PID"] or _number(values, "LISTEN_PID") != pid:
        return ()
    count = _number(values, "LISTEN_FDS") if values["LISTEN_FDS"] else 0
    names = values["LISTEN_FDNAMES"].split(":") if values["LISTEN_FDNAMES"] else []
    if names and len(names) != count:
        raise StartError(
            f"LISTEN_FDNAMES={values['LISTEN_FDNAMES']} names {len(names)} sockets, "
            f"LISTEN_FDS={count} counts {count}\n{_HINT}"
        )
    passed = []
    for index in range(count):
        fd = _FIRST + index
        try:
            os.set_inheritable(fd, False)
        except (OSError, OverflowError) as error:
            raise StartError(
                f"LISTEN_FDS={count} promises descriptor {fd}, which is not open\n{_HINT}"
            ) from error
        passed.append(InheritedSocket(fd, names[index] if names else _UNNAMED))
    return tuple(passed)


_HINT: Final = (
    "  systemd sets it for socket activation; started otherwise, pass each socket from 3 on,\n"
    "  or unset LISTEN_PID"
)


def _number(values: MutableMapping[str, str], name: str) -> int:
    text = values[name]
    if not (text.isascii() and text.isdecimal()):
        raise StartError(f"{name}={text} is not a number\n{_HINT}")
    return int(text)
