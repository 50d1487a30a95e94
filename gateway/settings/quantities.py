"""Kinds of number with a writing of their own: levels, times, sizes, worker counts, modes."""

from __future__ import annotations

import math
import re
from typing import Final

from gateway.log import LEVELS
from gateway.settings.kinds import Integer, Invalid, Kind, Schema, suggest

__all__ = ["Duration", "Level", "Mode", "Size", "WorkerCount"]

_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_OCTAL: Final = re.compile(r"(?:0o?)?[0-7]{1,4}")
_SIZE: Final = re.compile(r"(\d+)\s*(?:([kmg])(?:i?b)?|b)?", re.IGNORECASE)
_SIZE_STEP: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Level(Kind):
    """A logging level by name or number; read as its number."""

    metavar = "|".join(LEVELS)
    python = "str | int"

    def read(self, value: object) -> object:
        if isinstance(value, str):
            value = LEVELS.get(value.lower(), int(value) if value.isdecimal() else value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1000:
            return value
        hint = suggest(value, tuple(LEVELS)) if isinstance(value, str) else ""
        raise Invalid(f"one of {', '.join(LEVELS)}, or a number", hint)

    def show(self, value: object) -> str:
        names = {number: name for name, number in LEVELS.items()}
        return names.get(value, str(value)) if isinstance(value, int) else str(value)

    def schema(self) -> Schema:
        return {"anyOf": [{"enum": list(LEVELS)}, {"type": "integer", "minimum": 0}]}


class Duration(Kind):
    """Seconds: ``30s``, ``1m30s``, ``500ms``, or a bare number.

    low: the shortest. zero_is_none: 0 means none, as in gunicorn's ``--timeout 0``.
    """

    metavar = "SECONDS"
    python = "float | str"

    def __init__(self, low: float = 0, zero_is_none: bool = False) -> None:
        self.low = low
        self.zero_is_none = zero_is_none

    def read(self, value: object) -> object:
        if isinstance(value, str):
            value = self._seconds(value.strip().lower())
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            seconds = float(value)
            if seconds == 0 and self.zero_is_none:
                return None
            if math.isfinite(seconds) and seconds >= self.low:
                return seconds
        if not self.low:
            raise Invalid("a duration such as 30s, 1m30s or 500ms")
        none = ", or 0 for none" if self.zero_is_none else ""
        raise Invalid(f"a duration of at least {self.show(self.low)} such as 30s{none}")

    def _seconds(self, text: str) -> float | None:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
        match = _DURATION.fullmatch(text)
        if not text or match is None:
            return None
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
        return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000

    def show(self, value: object) -> str:
        seconds = float(str(value))
        if 0 < seconds < 1:
            return f"{seconds * 1000:g}ms"
        for unit, step in (("h", 3600), ("m", 60)):
            if seconds and seconds % step == 0:
                return f"{seconds // step:g}{unit}"
        return f"{seconds:g}s"

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}


class Size(Kind):
    """Bytes: ``16MiB``, ``64k`` (always powers of 1024), or a bare number.

    low, high: the smallest and the largest. zero_is_none: 0 means none.
    """

    metavar = "BYTES"
    python = "int | str"

    def __init__(self, low: int = 0, high: int | None = None, zero_is_none: bool = False) -> None:
        self.low = low
        self.high = high
        self.zero_is_none = zero_is_none

    def read(self, value: object) -> object:
        if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
            value = int(match[1]) * _SIZE_STEP[(match[2] or "").lower()]
        if isinstance(value, int) and not isinstance(value, bool):
            if value == 0 and self.zero_is_none:
                return None
            if value >= self.low and (self.high is None or value <= self.high):
                return value
        least = f" of at least {self.show(self.low)}" if self.low else ""
        if self.high is not None:
            least += f" and at most {self.show(self.high)}"
        none = ", or 0 for none" if self.zero_is_none else ""
        raise Invalid(f"a size{least} such as {'256MiB' if none else '16MiB or 64k'}{none}")

    def show(self, value: object) -> str:
        size = int(str(value))
        for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if size and size % step == 0:
                return f"{size // step}{unit}"
        return str(size)

    def schema(self) -> Schema:
        low = 0 if self.zero_is_none else self.low
        return {"anyOf": [{"type": "integer", "minimum": low}, {"type": "string"}]}


class WorkerCount(Kind):
    """``auto``, or how many."""

    metavar = "N|auto"
    python = 'int | Literal["auto"]'

    def read(self, value: object) -> object:
        if value == "auto":
            return value
        try:
            return Integer(low=1).read(value)
        except Invalid as error:
            raise Invalid(f"auto or {error.expected}") from None

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}


class Mode(Kind):
    """Permissions as chmod writes them: ``660``, ``0660`` and ``0o660`` are the same, 0o660.

    `spelled`: a file's number is read as it is written, or ``umask = 22`` would silently be 0o26.
    """

    metavar = "OCTAL"
    python = "int | str"
    spelled = True

    def read(self, value: object) -> object:
        if isinstance(value, str) and _OCTAL.fullmatch(value.strip()):
            value = int(value.strip().removeprefix("0o"), 8)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
            return value
        octal = isinstance(value, int) and _OCTAL.fullmatch(str(value))
        raise Invalid("octal permissions such as 0o660", f"write 0o{value}" if octal else "")

    def show(self, value: object) -> str:
        return f"0o{value:o}" if isinstance(value, int) else str(value)

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}
