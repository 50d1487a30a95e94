"""Why an application's code failed, told in the operator's own lines."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Final

from gateway.importer.suggestions import near_module, shorten
from gateway.log_format import counted

__all__ = ["explain", "own_frames"]

_STDLIB: Final = str(Path(os.__file__).parent) + os.sep
_GATEWAY: Final = str(Path(__file__).parent.parent) + os.sep
_MOST_LINES: Final = 18  # of frames; an endless recursion has a thousand


def explain(error: BaseException, package: str = "") -> str:
    """Indented lines that say why `error` happened, for the end of an operator's message.

    package: the application's own top-level package; it may be installed into site-packages, and
        its frames are the operator's all the same.

    The operator's frames come with their source line, runs of library frames (site-packages, the
    standard library) as ``… 24 frames in starlette, fastapi``; then the exception and its causes.
    Frames of the gateway and of the import system are left out.
    """
    lines = own_frames(error, package) + _summary(error)
    seen = {id(error)}
    while (cause := _cause(error)) is not None and id(cause) not in seen:
        seen.add(id(cause))
        first, *rest = _summary(cause)
        lines += [f"caused by {first}", *rest]
        error = cause
    return "\n".join(f"  {line}" for line in lines)


def own_frames(error: BaseException, package: str = "") -> list[str]:
    """The operator's frames, outermost first, with runs of library frames folded."""
    frames = [
        (library, _place(frame.filename, frame.lineno), frame.line or frame.name)
        for frame in traceback.extract_tb(error.__traceback__)
        if (library := _library(frame.filename, package)) is not None
    ]
    width = max((len(place) for library, place, _ in frames if not library), default=0)
    lines: list[str] = []
    for folded, group in groupby(frames, key=lambda frame: bool(frame[0])):
        run = list(group)
        if folded:
            names = ", ".join(dict.fromkeys(library for library, _, _ in run))
            lines.append(f"… {counted(len(run), 'frame')} in {names}")
        else:
            lines += [f"{place:<{width}}   {code}" for _, place, code in run]
    if len(lines) > _MOST_LINES:
        half = _MOST_LINES // 2
        lines[half:-half] = [f"… {counted(len(lines) - 2 * half, 'more line')}"]
    return lines


def _library(filename: str, package: str) -> str | None:
    """The library a source file belongs to; "" for the operator's own code, None for nobody's.

    Nobody's are the import system, generated code and the gateway: they explain nothing.
    """
    if filename.startswith(("<", _GATEWAY, f"{_STDLIB}importlib{os.sep}")):
        return None
    parts = Path(filename).parts
    for directory in ("site-packages", "dist-packages"):
        if directory in parts[:-1]:
            library = parts[parts.index(directory) + 1].removesuffix(".py")
            return "" if library == package else library
    if filename.startswith(_STDLIB):
        return Path(filename.removeprefix(_STDLIB)).parts[0].removesuffix(".py")
    return ""


def _summary(error: BaseException) -> list[str]:
    """The exception itself, with the question that helps."""
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return list(_marked(error))
    lines = "".join(traceback.format_exception_only(error)).splitlines()
    if isinstance(error, SystemExit):
        lines[0] += "   the code calls sys.exit()"
    if isinstance(error, ModuleNotFoundError) and error.name:
        parent = error.name.rpartition(".")[0]
        if parent not in sys.modules:
            lines[0] += f"   is it installed in {sys.prefix} ?"
        elif near := near_module(error.name):
            lines[0] += f'   did you mean "{near}"?'
    return lines


def _marked(error: SyntaxError) -> Iterator[str]:
    """The line that is no Python, with carets where SyntaxError says (columns count from 1)."""
    place = _place(str(error.filename), error.lineno)
    line = (error.text or "").rstrip().replace("\t", " ")
    code = line.lstrip()
    yield f"{place}   {code}"
    if code and error.offset:
        start = max(error.offset - 1 - (len(line) - len(code)), 0)
        ends_here = error.end_offset and error.end_lineno == error.lineno
        size = max((error.end_offset or 0) - error.offset, 1) if ends_here else 1
        yield " " * (len(place) + 3 + start) + "^" * size
    yield f"{type(error).__name__}: {error.msg}"


def _cause(error: BaseException) -> BaseException | None:
    return error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _place(filename: str, lineno: int | None) -> str:
    return f"{shorten(filename)}:{lineno or 0}"
