"""Kinds with a unit: levels, times, sizes."""

from __future__ import annotations

import math
import re
from typing import Final

from gateway.log import LEVELS
from gateway.settings.kinds import Invalid, Kind, Schema, suggest

__all__ = ["Duration", "Level", "Size"]

_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
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
    """Seconds: ``30s``, ``1m30s``, ``500ms``, or a bare number."""

    metavar = "SECONDS"
    python = "float | str"

    def read(self, value: object) -> object:
        if isinstance(value, str):
            value = self._seconds(value.strip().lower())
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            seconds = float(value)
            if math.isfinite(seconds) and seconds >= 0:
                return seconds
        raise Invalid("a duration such as 30s, 1m30s or 500ms")

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
        minutes, rest = divmod(seconds, 60)
        if minutes and not rest:
            return f"{minutes:g}m"
        return f"{seconds:g}s"

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}


class Size(Kind):
    """Bytes: ``16MiB``, ``64k`` (always powers of 1024), or a bare number."""

    metavar = "BYTES"
    python = "int | str"

    def __init__(self, low: int = 0) -> None:
        self.low = low

    def read(self, value: object) -> object:
        if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
            value = int(match[1]) * _SIZE_STEP[(match[2] or "").lower()]
        if isinstance(value, int) and not isinstance(value, bool) and value >= self.low:
            return value
        least = f" of at least {self.show(self.low)}" if self.low else ""
        raise Invalid(f"a size{least} such as 16MiB or 64k")

    def show(self, value: object) -> str:
        size = int(str(value))
        for unit, step in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if size and size % step == 0:
                return f"{size // step}{unit}"
        return str(size)

    def schema(self) -> Schema:
        return {"anyOf": [{"type": "integer", "minimum": self.low}, {"type": "string"}]}
