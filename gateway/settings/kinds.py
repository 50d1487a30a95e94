"""Kinds of value: how each is read from text, TOML or Python, and how it is described.

One reading serves every source, so ``port = "${PORT}"`` in a file, ``GATEWAY_PORT=8000`` and
``--port 8000`` cannot disagree. More kinds: `quantities`, `texts`, `lists`.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import ClassVar, Final

__all__ = [
    "Automatic",
    "Choice",
    "Flag",
    "Integer",
    "Invalid",
    "Kind",
    "PythonOnly",
    "Text",
    "suggest",
    "written",
]

Schema = dict[str, object]


class Invalid(ValueError):  # noqa: N818 - it describes the value
    """A value of the wrong kind.

    expected: what it should be, to stand after "'port' must be": "a whole number from 0 to 65535".
    hint: what to write instead; "" if that is all there is to say.
    path: where inside the value the fault is: (1,) is the second item of a list.
    """

    def __init__(self, expected: str, hint: str = "", path: tuple[str | int, ...] = ()) -> None:
        super().__init__(expected)
        self.expected = expected
        self.hint = hint
        self.path = path


def suggest(word: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    """A question such as ``did you mean 'port'?``; "" when nothing known is near."""
    near = get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"did you mean '{near[0]}'?" if near else ""


def written(value: object) -> str:
    """The value as an operator would write it."""
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, tuple):
        value = list(value)
    try:
        return json.dumps(value)
    except TypeError:
        return repr(value)


class Kind(ABC):
    """One kind of value.

    metavar: stands for the value in ``--help``.
    python: the type a Python caller may pass, as source text.
    repeats: the flag may be given several times.
    takes_empty: "" is a value; of other optional settings it means none.
    spelled: a number in a file is handed over as it is written there.
    secret: no message and no list shows the value itself.
    """

    metavar: str = "TEXT"
    python: str = "str"
    repeats: ClassVar[bool] = False
    takes_empty: ClassVar[bool] = False
    spelled: ClassVar[bool] = False
    secret: ClassVar[bool] = False

    @abstractmethod
    def read(self, value: object) -> object:
        """The typed value. Raises `Invalid`."""

    def show(self, value: object) -> str:
        """The value as `gateway config` and the documentation print it."""
        return str(value)

    def schema(self) -> Schema:
        """Its JSON schema (as TOML sees it)."""
        return {"type": "string"}


class Text(Kind):
    def read(self, value: object) -> object:
        if isinstance(value, str):
            return value
        raise Invalid("text in quotes")


class Integer(Kind):
    metavar = "N"
    python = "int"

    def __init__(self, low: int = 0, high: int | None = None, zero_is_none: bool = False) -> None:
        self.low = low
        self.high = high
        self.zero_is_none = zero_is_none

    def read(self, value: object) -> object:
        number = value
        if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value):
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool):
            raise Invalid(self._expected())
        if number == 0 and self.zero_is_none:
            return None
        if number < self.low or (self.high is not None and number > self.high):
            raise Invalid(self._expected())
        return int(number)

    def _expected(self) -> str:
        if self.high is not None:
            return f"a whole number from {self.low} to {self.high}"
        return f"a whole number of at least {0 if self.zero_is_none else self.low}"

    def schema(self) -> Schema:
        low = 0 if self.zero_is_none else self.low
        bounds: Schema = {"minimum": low}
        if self.high is not None:
            bounds["maximum"] = self.high
        return {"anyOf": [{"type": "integer", **bounds}, {"type": "string"}]}


class Flag(Kind):
    metavar = ""
    python = "bool"

    _WORDS: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(
        ("0", "false", "no", "off"), False
    )

    def read(self, value: object) -> object:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in self._WORDS:
            return self._WORDS[value.lower()]
        raise Invalid("true or false")

    def show(self, value: object) -> str:
        return "true" if value else "false"

    def schema(self) -> Schema:
        return {"type": "boolean"}


class Automatic(Flag):
    """A switch whose on is called auto: on as far as the other side takes part."""

    metavar = "auto|off"
    python = 'bool | Literal["auto", "off"]'

    def read(self, value: object) -> object:
        if value == "auto":
            return True
        try:
            return super().read(value)
        except Invalid:
            raise Invalid("auto or off") from None

    def show(self, value: object) -> str:
        return "auto" if value else "off"

    def schema(self) -> Schema:
        return {"enum": ["auto", "off", True, False]}


class Choice(Kind):
    """One of some words.

    spellings: other servers' words, and which of `options` they mean.
    """

    def __init__(
        self, options: tuple[str, ...], spellings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.options = options
        self.spellings = spellings
        self.metavar = "|".join(options)
        self.python = f"Literal[{', '.join(map(json.dumps, (*options, *spellings)))}]"

    def read(self, value: object) -> object:
        if value in self.options:
            return value
        if isinstance(value, str) and value in self.spellings:
            return self.spellings[value]
        raise Invalid(
            f"one of {', '.join(self.options)}",
            suggest(value, self.options) if isinstance(value, str) else "",
        )

    def schema(self) -> Schema:
        return {"enum": [*self.options, *self.spellings]}


class PythonOnly(Kind):
    """A Python object; no text can name it."""

    python = "Callable[[], Awaitable[None]]"

    def read(self, value: object) -> object:
        if callable(value):
            return value
        raise Invalid("a callable")
