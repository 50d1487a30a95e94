"""The command and its options, made from the declared settings.

Click splits the words; it knows neither types nor defaults, so that a value is judged by the same
code, with the same words, wherever it comes from.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import click

from gateway import __version__
from gateway.cli.help import print_help
from gateway.settings.declare import Field
from gateway.settings.kinds import Flag, Invalid, suggest
from gateway.settings.model import SETTINGS
from gateway.settings.texts import complete

__all__ = ["Action", "CommandLine", "parse"]

Action: TypeAlias = Literal["run", "dev", "check", "routes", "config"]

ACTIONS: Final[Mapping[str, Action]] = {
    "run": "run",
    "dev": "dev",
    "check": "check",
    "routes": "routes",
    "config": "config",
}

_SWITCHES: Final = {
    f"--{name}": each.kind
    for each in SETTINGS.values()
    if isinstance(each.kind, Flag) and each.default
    for name in (each.key, *each.setting.aliases)
}
"""What is on by default, so that a word behind it can mean something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandLine:
    """What one command line asks for.

    values: the settings it gives, as text, by field name. config: the file it names.
    https: a certificate is to be made for ``gateway dev``. That is no setting: it would be one
        that everything but a developer's machine has to refuse.
    notes: for the operator, about words that were accepted and do nothing.
    """

    action: Action
    values: Mapping[str, object]
    config: str | None = None
    as_json: bool = False
    https: bool = False
    notes: Sequence[str] = field(default=())


def parse(argv: Sequence[str]) -> CommandLine | int:
    """Read a command line; an exit code where it was answered already (``--help``).

    Raises `click.UsageError`.
    """
    result: object = _COMMAND.main(_switched(argv), prog_name="gateway", standalone_mode=False)
    return result if isinstance(result, CommandLine) else int(str(result or 0))


def _switched(argv: Sequence[str]) -> list[str]:
    """``--access-log false`` and ``--access-log=false`` as ``--no-access-log``, and so on.

    uvicorn's ws-per-message-deflate takes such a word, and none of them can be an application.
    """
    words: list[str] = []
    for word in argv:
        flag, _, value = word.partition("=")
        if flag in _SWITCHES and (on := _is_on(_SWITCHES[flag], value)) is not None:
            words.append(flag if on else f"--no-{flag[2:]}")
        elif (
            words
            and words[-1] in _SWITCHES
            and (on := _is_on(_SWITCHES[words[-1]], word)) is not None
        ):
            words.append(words.pop() if on else f"--no-{words.pop()[2:]}")
        else:
            words.append(word)
    return words


def _is_on(kind: Flag, word: str) -> bool | None:
    try:
        return bool(kind.read(word))
    except Invalid:
        return None


def _command_line(**given: object) -> CommandLine:
    """Click's callback: what was parsed, without what was not given."""
    values = {name: value for name, value in given.items() if value not in (None, ())}
    words = values.pop("words", ())
    config = values.pop("config", None)
    as_json = bool(values.pop("as_json", False))
    https = bool(values.pop("https", False))
    notes = _foreign(values)
    action, app = _action_and_app(words if isinstance(words, tuple) else ())
    if app is not None:
        values["app"] = app
    if as_json and action not in ("config", "routes"):
        raise click.UsageError("--json is for gateway config and gateway routes")
    if https and action != "dev":
        raise click.UsageError(
            "--https is for gateway dev, on your own machine\n"
            "  elsewhere give a certificate:  --ssl-certfile FILE --ssl-keyfile FILE"
        )
    return CommandLine(
        action=action,
        values=values,
        config=None if config is None else str(config),
        as_json=as_json,
        https=https,
        notes=notes,
    )


def _action_and_app(words: tuple[str, ...]) -> tuple[Action, str | None]:
    """Which action, on which application: an application has a colon, so they cannot clash."""
    action: Action = "run"
    if words and words[0] in ACTIONS:
        action, words = ACTIONS[words[0]], words[1:]
    command = "gateway" if action == "run" else f"gateway {action}"
    if len(words) > 1:
        raise click.UsageError(
            f"one application at a time, not {' and '.join(words)}\n"
            f"  mount the other one:  {command} {words[0]} --mount /path={words[1]}"
        )
    if not words:
        return action, None
    word = words[0]
    if ":" not in word:
        near = suggest(word, tuple(ACTIONS))
        hint = near or f"an application is module:attribute, try:  {command} {complete(word)}"
        raise click.UsageError(f"'{word}' is neither an application nor a command\n  {hint}")
    return action, word


def _foreign(values: dict[str, object]) -> list[str]:
    """Act on other servers' flags that are no settings here."""
    notes = []
    worker = values.pop("worker_class", None)
    if worker is not None:
        if not str(worker).endswith(("UvicornWorker", "UvicornH11Worker", "asgi", "gthread")):
            raise click.UsageError(
                f"--worker-class {worker} has no counterpart here\n"
                "  gateway sees by itself whether an application is ASGI or WSGI"
            )
        notes.append("--worker-class is not needed: gateway sees what an application is")
    directory = values.pop("chdir", None)
    if directory is not None:
        try:
            os.chdir(str(directory))
        except OSError as error:
            raise click.UsageError(f"--chdir {directory}: {error.strerror}") from None
    if values.pop("daemon", False):
        raise click.UsageError(
            "--daemon is not supported: let systemd start it (Type=notify), or a process manager"
        )
    return notes


def _option(each: Field) -> click.Option:
    names = [each.flag, *(f"--{name}" for name in each.setting.aliases if len(name) > 1)]
    shorts = [f"-{name}" for name in each.setting.aliases if len(name) == 1]
    if isinstance(each.kind, Flag):
        pairs = [f"{name}/--no-{name[2:]}" for name in names]
        return click.Option([*pairs, each.name], default=None)
    return click.Option(
        [*shorts, *names, each.name], type=str, default=None, multiple=each.kind.repeats
    )


def _text(*names: str) -> click.Option:
    return click.Option(list(names), type=str, default=None)


def _print_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        click.echo(f"Running gateway {__version__} with {python} on {platform.system()}")
        context.exit()


def _print_help(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        print_help(everything=parameter.name == "help_all")
        context.exit()


def _answer(
    *names: str, callback: Callable[[click.Context, click.Parameter, bool], None]
) -> click.Option:
    return click.Option(
        list(names),
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=callback,
    )


_COMMAND: Final = click.Command(
    "gateway",
    callback=_command_line,
    add_help_option=False,
    params=[
        click.Argument(["words"], nargs=-1, type=str),
        *(
            _option(each)
            for each in SETTINGS.values()
            if each.name != "app" and not each.python_only
        ),
        _text("-c", "--config", "config"),
        click.Option(["--json", "as_json"], is_flag=True, default=False),
        click.Option(["--https", "https"], is_flag=True, default=False),
        _text("-k", "--worker-class", "worker_class"),
        _text("--chdir", "--working-dir", "chdir"),
        click.Option(["-D", "--daemon", "daemon"], is_flag=True, default=False),
        _answer("-h", "--help", "help", callback=_print_help),
        _answer("--help-all", "help_all", callback=_print_help),
        _answer("--version", "version", callback=_print_version),
    ],
)
