"""Which user a process works as."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.errors import ConfigError, StartError

if TYPE_CHECKING:
    from pwd import struct_passwd

__all__ = ["Identity", "identity"]

_SYSTEMD = "  or leave it out, and let what starts the gateway choose (User= and Group= in systemd)"


def identity(user: str | None, group: str | None) -> Identity | None:
    """The user and group that the settings `user` and `group` name, each by name or number.

    Without a group it is the user's own; without a user it stays the present one. None where that
    changes nothing, so that the same configuration also serves a process that is not root.

    Raises `ConfigError` for names that do not exist, and where this process may not change: only
    root may. A user without an entry among the users needs a group, since nothing says which.
    """
    if user is None and group is None:
        return None
    if os.name != "posix":
        raise ConfigError("user and group cannot be changed on this system\n  leave them out")
    entry = _user(str(os.geteuid()) if user is None else user)
    if group is not None:
        gid = _group(group)
    elif entry.gid is not None:
        gid = entry.gid
    else:
        raise ConfigError(
            f"user {user} has no entry among the users of this system, so its group is unknown\n"
            "  name the group as well (--group)"
        )
    if (entry.uid, gid) == (os.geteuid(), os.getegid()):
        return None
    if os.geteuid() != 0:
        wanted = f"user {user}" if user is not None else f"group {group}"
        raise ConfigError(
            f"{wanted}: this process is not root (uid {os.geteuid()}) and may not change\n"
            f"  start it as root,\n{_SYSTEMD}"
        )
    groups = os.getgrouplist(entry.name, gid) if entry.name is not None else [gid]
    return Identity(
        uid=entry.uid,
        gid=gid,
        groups=tuple(groups),
        name=entry.name,
        home=entry.home,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user, its groups and its home, looked up while that was still possible.

    groups: all of them, the supplementary ones of the system's database and `gid`.
    name: None for a number without an entry; `home` is "/" then, as in containers.
    """

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str | None
    home: str = "/"

    def assume(self) -> None:
        """Become this user, for good: all of this process's threads, and what it starts.

        HOME, USER and LOGNAME follow, as with systemd's ``User=``: libraries that keep caches below
        root's home fail with a permission error else. Where only the group changes they stay.

        Linux forgets prctl(PR_SET_PDEATHSIG) here, and the process becomes unreadable for its new
        user (PR_SET_DUMPABLE): set these afterwards. Raises `StartError`.
        """
        stays = self.uid == os.geteuid()
        try:
            # The user last: it takes the right to change the groups with it.
            os.setgroups(self.groups)
            os.setgid(self.gid)
            os.setuid(self.uid)
        except OSError as error:
            raise StartError(
                f"cannot become user {self} and group {self.gid}: {error.strerror}\n"
                f"  a container may lack the capabilities SETUID and SETGID,\n{_SYSTEMD}"
            ) from error
        if stays:
            return
        self._verify()
        os.environ["HOME"] = self.home
        for variable in ("USER", "LOGNAME"):
            if self.name is None:
                os.environ.pop(variable, None)
            else:
                os.environ[variable] = self.name

    def _verify(self) -> None:
        try:
            os.seteuid(0)
        except PermissionError:
            return
        raise StartError(f"became user {self}, but could become root again\n{_SYSTEMD}")

    def __str__(self) -> str:
        return self.name if self.name is not None else str(self.uid)


@dataclass(frozen=True, slots=True)
class _Entry:
    uid: int
    gid: int | None = None
    name: str | None = None
    home: str = "/"


def _user(text: str) -> _Entry:
    import pwd

    def entry(found: struct_passwd) -> _Entry:
        return _Entry(found.pw_uid, found.pw_gid, found.pw_name, found.pw_dir)

    # A name made of digits comes before the number, as for chown (POSIX).
    try:
        return entry(pwd.getpwnam(text))
    except KeyError:
        uid = _number(text)
    if uid is None:
        raise ConfigError(f"there is no user {text}\n  getent passwd lists them")
    try:
        return entry(pwd.getpwuid(uid))
    except KeyError:
        return _Entry(uid)


def _group(text: str) -> int:
    import grp

    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        gid = _number(text)
    if gid is None:
        raise ConfigError(f"there is no group {text}\n  getent group lists them")
    return gid


def _number(text: str) -> int | None:
    """A uid or gid; the highest one means "unchanged" to the kernel."""
    if text.isascii() and text.isdecimal() and int(text) < 0xFFFF_FFFF:
        return int(text)
    return None
