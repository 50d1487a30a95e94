"""Merging the five settings that say where to listen (rules 3 and 4 of `load`)."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace

from gateway.settings.bind import Bind
from gateway.settings.layers import Given, Layer, Problems
from gateway.settings.model import SETTINGS

__all__ = ["merge_addresses"]

_WHERE = ("bind", "uds", "fd", "host", "port")


def merge_addresses(
    stack: Sequence[Layer],
    port: Given | None,
    values: MutableMapping[str, object],
    origins: MutableMapping[str, str],
    problems: Problems,
) -> None:
    """Set bind, uds, fd, host and port in ``values`` and ``origins``.

    stack: the layers that can name an address, the file first. port: from PORT.
    """
    merged = _Merge(values, origins)
    for index, layer in enumerate(stack):
        given = {name: layer.values[name] for name in _WHERE if name in layer.values}
        beside = [name for name in given if name != "bind"]
        if given.get("bind") and given["bind"].value and beside:
            other = given[beside[0]]
            text = f"{other.source.name(other.path)} has no effect beside {_name(given['bind'])}"
            problems.add(other.source, text, "give one of them", other.path, on_key=True)
        merged.apply(given)
        if index == 0 and port is not None:
            merged.apply_platform(port, host_given="host" in given)


def _name(given: Given) -> str:
    return given.source.name(given.path)


class _Merge:
    def __init__(
        self, values: MutableMapping[str, object], origins: MutableMapping[str, str]
    ) -> None:
        self._values = values
        self._origins = origins
        for name in _WHERE:
            self._reset(name)

    def apply(self, given: dict[str, Given]) -> None:
        if "bind" in given or "uds" in given or "fd" in given:
            for name in _WHERE:
                self._reset(name)
        elif given and self._first_tcp() is None:
            for name in ("bind", "uds", "fd"):
                self._reset(name)
        for name, each in given.items():
            if name in ("host", "port") and self._values["bind"]:
                self._change_bind(name, each)
            else:
                self._set(name, each.value, each.origin)

    def apply_platform(self, port: Given, host_given: bool) -> None:
        if self._values["uds"] is not None or self._values["fd"] is not None:
            return
        if self._values["bind"]:
            self._change_bind("port", port)
            return
        self._set("port", port.value, port.origin)
        if not host_given:
            self._set("host", "0.0.0.0", port.origin)

    def _first_tcp(self) -> int | None:
        binds = self._values["bind"]
        for index, text in enumerate(binds if isinstance(binds, tuple) else ()):
            if Bind.parse(text).host is not None:
                return index
        return None

    def _change_bind(self, name: str, given: Given) -> None:
        index = self._first_tcp()
        binds = self._values["bind"]
        if index is None or not isinstance(binds, tuple):
            return
        first = Bind.parse(binds[index])
        changed = (
            replace(first, port=int(str(given.value)))
            if name == "port"
            else replace(first, host=str(given.value).strip("[]"))
        )
        self._values["bind"] = (*binds[:index], changed.text, *binds[index + 1 :])
        self._origins["bind"] += f", {name} by {given.origin}"

    def _reset(self, name: str) -> None:
        self._set(name, SETTINGS[name].default, "default")

    def _set(self, name: str, value: object, origin: str) -> None:
        self._values[name] = value
        self._origins[name] = origin
