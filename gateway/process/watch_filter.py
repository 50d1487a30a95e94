"""Which files a reload waits for: uvicorn's reload-dir, reload-include and reload-exclude."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePath
from typing import Final

from gateway.errors import ConfigError

__all__ = ["WatchFilter"]

_INCLUDES: Final = ("*.py",)
_EXCLUDES: Final = (".*", ".py[cod]", ".sw.*", "~*")

# Never walked into from above: no source an operator edits, but most of the files there are. A
# Django project with a front end has 1,500 Python files, and 60,000 in .venv and node_modules.
_COSTLY: Final = frozenset(
    """
    .git .hg .svn .bzr __pycache__ node_modules site-packages .venv .direnv .eggs .tox .nox
    .mypy_cache .pytest_cache .ruff_cache .hypothesis .idea .vscode .cache
    """.split()
)
_FOLDED: Final = re.IGNORECASE if os.name == "nt" else re.NOFLAG


class WatchFilter:
    """What is watched, in the terms of uvicorn 0.54.

    dirs: watched with all below them; the working directory if none is given.
    includes, excludes: added to ``*.py``, and to ``.*``, ``.py[cod]``, ``.sw.*`` and ``~*``. A
        default that the other list names is dropped.

    A pattern is a glob and is held against the end of a file's path: ``*.html`` against its name,
    ``static/*.css`` against the last two parts; ``**`` stands for any number of parts. A file
    counts when an include matches it and no exclude does. An include without wildcards wins over
    excludes, and may name a file outside of `dirs`. A directory named by an include, itself or by
    a glob in the working directory, is watched beside `dirs`; one named by an exclude is left out.

    Different from uvicorn: an include that names a directory does not replace the working
    directory, an excluded directory may be relative, and caches, virtual environments and
    ``node_modules`` are not walked into, unless they are named.

    roots: the watched directories, absolute; a symbolic link stays one, so that a deployment that
        switches its link is seen.
    files: single files that count wherever they are; they need not exist.

    Raises `ConfigError` for a directory that does not exist, and when excludes leave none.
    """

    def __init__(
        self, dirs: Sequence[str], includes: Sequence[str], excludes: Sequence[str]
    ) -> None:
        roots = [_absolute(path) for path in dirs or ["."]]
        for path, given in zip(roots, dirs, strict=False):
            if not os.path.isdir(path):  # noqa: PTH112
                problem = "is not a directory" if os.path.lexists(path) else "does not exist"
                raise ConfigError(f"reload-dir: {given} {problem}\n  looked at {path}")
        self._without = frozenset(_named_directories(excludes))
        roots += _named_directories(includes)
        self.roots = [path for path in dict.fromkeys(roots) if not self._is_left_out(path)]
        if not self.roots:
            raise ConfigError(
                f"nothing is left to watch: reload-exclude covers {', '.join(roots)}\n"
                "  name another directory with --reload-dir"
            )
        chosen = [each for each in includes if each not in excludes]
        self._literal = [each for each in chosen if not _is_glob(each)]
        self.files = [
            path
            for path in map(_absolute, self._literal)
            if not os.path.isdir(path)  # noqa: PTH112
        ]
        self._included = _any_of(
            [*(each for each in _INCLUDES if each not in excludes), *chosen],
        )
        self._named = _any_of(self._literal)
        self._excluded = _any_of(
            [*(each for each in _EXCLUDES if each not in includes), *excludes],
        )

    def includes(self, path: str, name: str) -> bool:
        """A file counts. `name` is the last part of `path`, which is absolute."""
        return self._included(path, name) and (
            not self._excluded(path, name) or self._named(path, name)
        )

    def walks(self, path: str, name: str) -> bool:
        """A directory below a root is looked into."""
        return (
            name not in _COSTLY
            and path not in self._without
            and not os.path.exists(f"{path}{os.sep}pyvenv.cfg")  # noqa: PTH110 - PEP 405
        )

    def _is_left_out(self, path: str) -> bool:
        return any(
            path == without or path.startswith(without.rstrip(os.sep) + os.sep)
            for without in self._without
        )


_Test = Callable[[str, str], bool]  # (path, its last part)


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*?[")


def _named_directories(patterns: Iterable[str]) -> list[str]:
    found: list[str] = []
    for pattern in patterns:
        if not _is_glob(pattern):
            found.append(_absolute(pattern))
        # ".*" is meant for files; as directories it would name .git and .venv.
        elif pattern != ".*" and not Path(pattern).is_absolute():
            found += [_absolute(str(match)) for match in Path().glob(pattern)]
    return [path for path in found if os.path.isdir(path)]  # noqa: PTH112


def _any_of(patterns: Iterable[str]) -> _Test:
    """One test for many patterns; those on names, which are most, share one expression."""
    names: list[str] = []
    paths: list[list[re.Pattern[str] | None]] = []
    for pattern in patterns:
        parts = PurePath(pattern).parts
        if len(parts) == 1:
            names.append(fnmatch.translate(parts[0]))
        elif parts:
            paths.append(
                [
                    None if part == "**" else re.compile(fnmatch.translate(part), _FOLDED)
                    for part in parts
                ]
            )
    name_matches = re.compile("|".join(names) or "(?!)", _FOLDED).match

    def test(path: str, name: str) -> bool:
        if name_matches(name):
            return True
        if not paths:
            return False
        parts = PurePath(path).parts
        return any(_ends(parts, pattern) for pattern in paths)

    return test


def _ends(parts: tuple[str, ...], pattern: list[re.Pattern[str] | None]) -> bool:
    """The end of `parts` matches `pattern`, in which None stands for any number of parts."""
    if not pattern:
        return True
    *before, last = pattern
    if last is None:
        return any(_ends(parts[:end], before) for end in range(len(parts), -1, -1))
    return bool(parts) and last.match(parts[-1]) is not None and _ends(parts[:-1], before)
