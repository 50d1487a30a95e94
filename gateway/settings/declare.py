"""Declaring a setting: what stands beside a dataclass field, and how everything else reads it.

A model is a frozen dataclass whose fields are ``Annotated[type, Setting(...)] = default``. The
kind of value follows from the type; its name, default, help and reason stand nowhere else.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, TypeAlias

from gateway.settings.kinds import Choice, Flag, Integer, Invalid, Kind, PythonOnly, Text, written
from gateway.settings.quantities import Duration

__all__ = ["INHERITED", "Field", "Inherited", "Seconds", "Setting", "declared"]

Seconds: TypeAlias = Annotated[float, Duration()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What an operator is told about one setting.

    help: one sentence. why: the reason for the default, with rivals' values where they differ.
    group: its chapter in ``--help`` and the documentation.
    aliases: other servers' names for it, accepted everywhere and shown nowhere in the help;
        a name of one letter is a short flag.
    flag: the flag's name where it is not the field's (a repeatable flag is singular).
    metavar: stands for the value in the help, where the kind's own says too little.
    common: shown by ``--help``; ``--help-all`` shows every setting.
    """

    help: str
    why: str = ""
    group: str = ""
    aliases: tuple[str, ...] = ()
    flag: str = ""
    metavar: str = ""
    common: bool = False


class Inherited:
    """Marks a field of a mount whose setting, and default, is the server's of the same name."""


INHERITED: Final = Inherited()


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One declared setting of a model.

    name: the attribute and Python keyword. default: None where `required`.
    optional: None is a value ("none" in text). inherited: see `Inherited`.
    """

    name: str
    kind: Kind
    setting: Setting
    default: object = None
    optional: bool = False
    required: bool = False
    inherited: bool = False
    keys: tuple[str, ...] = field(default=())

    @property
    def key(self) -> str:
        """The TOML key."""
        return self.name.replace("_", "-")

    @property
    def flag(self) -> str:
        return f"--{self.setting.flag or self.key}"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"GATEWAY_{self.name.upper()}"

    @property
    def python_only(self) -> bool:
        return isinstance(self.kind, PythonOnly)

    @property
    def metavar(self) -> str:
        return self.setting.metavar or self.kind.metavar

    def read(self, value: object, name: str) -> object:
        """The typed value; ``name`` is what the message calls the setting. Raises `Invalid`."""
        blank = ("none",) if self.kind.takes_empty else ("none", "")
        if self.optional and (value is None or value in blank):
            return None
        try:
            return self.kind.read(value)
        except Invalid as error:
            for step in error.path:
                if isinstance(value, (Mapping, list, tuple)):
                    value = value[step]  # type: ignore[index]
            found = "" if self.kind.secret else f", not {written(value)}"
            text = f"{name} must be {error.expected}{found}"
            raise Invalid(text, error.hint, error.path) from None

    def show(self, value: object) -> str:
        """The value as an operator reads it; "none" for None."""
        return "none" if value is None else self.kind.show(value)


def declared(model: type, inherit: Mapping[str, Field] | None = None) -> Mapping[str, Field]:
    """The settings a model declares, by name, in their order; undeclared fields are left out.

    inherit: where `INHERITED` fields find theirs.
    """
    hints = typing.get_type_hints(model, include_extras=True)
    found: dict[str, Field] = {}
    for item in dataclasses.fields(model):
        hint = hints[item.name]
        marks = getattr(hint, "__metadata__", ())
        if INHERITED in marks and inherit is not None:
            parent = inherit[item.name]
            found[item.name] = dataclasses.replace(parent, inherited=True, default=None)
            continue
        setting = next((mark for mark in marks if isinstance(mark, Setting)), None)
        if setting is None:
            continue
        kind = next((mark for mark in marks if isinstance(mark, Kind)), None)
        required = item.default is dataclasses.MISSING
        found[item.name] = Field(
            name=item.name,
            kind=kind or _kind(hint, item.name),
            setting=setting,
            default=None if required else item.default,
            optional=_optional(hint),
            required=required,
            keys=_keys(item.name, setting),
        )
    return types.MappingProxyType(found)


def _keys(name: str, setting: Setting) -> tuple[str, ...]:
    names = [name.replace("_", "-"), setting.flag, *setting.aliases]
    return tuple(dict.fromkeys(each for each in names if len(each) > 1))


def _optional(hint: object) -> bool:
    inner = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    return types.NoneType in typing.get_args(inner)


def _kind(hint: object, name: str) -> Kind:
    """The kind a type stands for: ``Annotated[..., kind]``, a Literal, or a plain type."""
    if typing.get_origin(hint) is Annotated:
        for mark in hint.__metadata__:  # type: ignore[attr-defined]
            if isinstance(mark, Kind):
                return mark
        return _kind(typing.get_args(hint)[0], name)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        rest = [each for each in typing.get_args(hint) if each is not types.NoneType]
        return _kind(rest[0], name)
    if typing.get_origin(hint) is Literal:
        return Choice(typing.get_args(hint))
    if hint is bool:
        return Flag()
    if hint is int:
        return Integer()
    if hint is str:
        return Text()
    raise TypeError(f"{name}: no kind of value is known for {hint}")
