"""What the settings say together about processes (rules 7 and 8 of `load`)."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from gateway.settings.layers import Given, Problems
from gateway.settings.model import Settings

__all__ = ["check_processes", "yield_to_reload"]


def yield_to_reload(values: MutableMapping[str, object], origins: MutableMapping[str, str]) -> None:
    """One worker with reload, as in uvicorn: what changes on every save is watched in one place."""
    if values["reload"] and values["workers"] != 1:
        values["workers"] = 1
        origins["workers"] += f", 1 because of reload ({origins['reload']})"


def check_processes(settings: Settings, given: Mapping[str, Given], problems: Problems) -> None:
    """Note what asks for workers and cannot have them.

    given: what was given for each setting, by whichever source won.
    """
    if settings.supervise is False:
        off = _name(given["supervise"])
        for name in settings.parental:
            each = given[name]
            text = f"{_name(each)} needs a process above the workers, which {off} rules out"
            hint = f"{_without(name, each)}, or leave {off} out"
            problems.add(each.source, text, hint, each.path, on_key=True)
    elif settings.supervised and settings.objects:
        name = settings.parental[0] if settings.parental else "supervise"
        each = given[name]
        what = ", ".join(map(_object, settings.objects))
        text = (
            f"{_name(each)} starts workers, each a fresh interpreter; "
            f"none of them can have {what} given as an object"
        )
        hint = f"give an import string, 'module:attribute', or {_without(name, each)}"
        problems.add(each.source, text, hint, each.path, on_key=True)
    for address in settings.health_addresses:
        free = address.host is not None and address.port == 0
        if address in settings.addresses and not free:
            each = given["health_bind"]
            text = f"{_name(each)} is {address}, where the applications are served"
            problems.add(each.source, text, "give it an address of its own", each.path)


def _name(given: Given) -> str:
    return given.source.name(given.path)


def _without(setting: str, given: Given) -> str:
    """How to do without it; a platform's WEB_CONCURRENCY cannot always be left out."""
    return "set workers to 1" if setting == "workers" else f"leave {_name(given)} out"


def _object(name: str) -> str:
    if name == "app":
        return "the application"
    mount = name.removeprefix("mounts.")
    return name if mount == name else f"the application of mount {mount}"
