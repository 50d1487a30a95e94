from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.process.watch_filter import WatchFilter
from gateway.process.watch_polling import look


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")


def watched(dirs=(), includes=(), excludes=()) -> list[str]:
    """The files that count, relative to the working directory."""
    return sorted(map(os.path.relpath, look(WatchFilter(dirs, includes, excludes)).files))


def test_python_files_below_the_working_directory_count_by_default():
    write("main.py", "app/deep/views.py", "README.md", "main.pyc")

    assert watched() == ["app/deep/views.py", "main.py"]


def test_hidden_and_editors_files_do_not_count_by_default():
    write("main.py", ".#main.py", "~main.py")

    assert watched() == ["main.py"]


def test_python_files_in_hidden_directories_count():
    write(".github/check.py")

    assert watched() == [".github/check.py"]


def test_an_include_adds_to_the_default():
    write("main.py", "templates/index.html", "data.csv")

    assert watched(includes=["*.html"]) == ["main.py", "templates/index.html"]


def test_a_default_that_is_excluded_is_dropped():
    write("main.py", "page.html")

    assert watched(includes=["*.html"], excludes=["*.py"]) == ["page.html"]


def test_a_default_exclude_that_is_included_is_dropped():
    write(".env.toml", "main.py")

    assert watched(includes=[".*"]) == [".env.toml", "main.py"]


def test_an_exclude_is_stronger_than_an_include_with_a_wildcard():
    write("main.py", "test_main.py", "tests/app.py")

    assert watched(excludes=["test_*.py", "tests/*"]) == ["main.py"]


def test_an_include_without_wildcards_is_stronger_than_excludes():
    write(".env", "sub/.env", "ext/ext.jpg")

    assert watched(includes=[".env", "ext/ext.jpg"]) == [".env", "ext/ext.jpg", "sub/.env"]


def test_a_pattern_with_slashes_is_held_against_the_end_of_the_path():
    write("a/static/x.css", "static/deep/x.css", "x.css")

    assert watched(includes=["static/*.css"]) == ["a/static/x.css"]


def test_two_stars_stand_for_any_number_of_directories():
    write("t/x.html", "t/a/b/x.html", "x.html")

    assert watched(includes=["t/**/*.html"]) == ["t/a/b/x.html", "t/x.html"]


def test_an_absolute_pattern_is_held_against_the_whole_path(project):
    write("static/x.css", "a/static/x.css")

    assert watched(includes=[f"{project}/static/*.css"]) == ["static/x.css"]


def test_only_the_given_directories_are_watched():
    write("main.py", "src/app.py", "lib/util.py")

    assert watched(["src", "lib"]) == ["lib/util.py", "src/app.py"]


def test_an_included_directory_is_watched_beside_the_others():
    write("src/app.py", "ext-1/a.py", "ext-2/b.py", "ext-2/b.txt", "other/c.py")

    assert watched(["src"], includes=["ext-*"]) == ["ext-1/a.py", "ext-2/b.py", "src/app.py"]


def test_an_included_directory_does_not_replace_the_working_directory():
    write("main.py", "ext/a.py")

    assert watched(includes=["ext"]) == ["ext/a.py", "main.py"]


def test_an_include_may_name_a_file_outside_of_the_directories():
    write("src/app.py", "conf/site.yaml", "conf/other.yaml")

    assert watched(["src"], includes=["conf/site.yaml"]) == ["conf/site.yaml", "src/app.py"]


@pytest.mark.parametrize("absolute", [False, True])
def test_an_excluded_directory_is_left_out_with_all_below_it(project, absolute):
    write("main.py", "app/js/tool.py", "app/js/deep/x.py", "app/views.py")
    name = str(project / "app/js") if absolute else "app/js"

    assert watched(excludes=[name]) == ["app/views.py", "main.py"]


def test_a_glob_excludes_directories_of_the_working_directory():
    write("main.py", "build-1/a.py", "build-2/b.py")

    assert watched(excludes=["build-*"]) == ["main.py"]


def test_a_watched_directory_below_an_excluded_one_is_left_out():
    write("src/a.py", "build/gen/b.py")

    assert watched(["src", "build/gen"], excludes=["build"]) == ["src/a.py"]


def test_caches_and_virtual_environments_are_not_walked_into():
    write("main.py", ".git/hooks/x.py", "node_modules/x/gyp.py", ".venv/lib/a.py", "env/lib/a.py")
    write("env/pyvenv.cfg")

    assert watched() == ["main.py"]


def test_what_is_not_walked_into_can_be_named():
    write("main.py", ".venv/lib/mine/a.py")

    assert watched([".", ".venv/lib/mine"]) == [".venv/lib/mine/a.py", "main.py"]


def test_a_link_to_a_directory_is_followed_and_a_circle_ends(tmp_path_factory):
    shared = tmp_path_factory.mktemp("shared")
    (shared / "util.py").write_text("")
    (shared / "back").symlink_to(Path.cwd())
    Path("shared").symlink_to(shared)
    write("main.py")

    assert watched() == ["main.py", "shared/util.py"]


def test_a_pattern_that_names_the_directory_itself_adds_nothing():
    write("main.py", "data.csv")

    assert watched(includes=["."]) == ["main.py"]


def test_a_directory_that_does_not_exist_is_named():
    with pytest.raises(ConfigError) as caught:
        WatchFilter(["scr"], [], [])

    assert str(caught.value).startswith("reload-dir: scr does not exist\n")


def test_a_file_is_no_directory_to_watch():
    write("main.py")

    with pytest.raises(ConfigError, match=r"reload-dir: main\.py is not a directory"):
        WatchFilter(["main.py"], [], [])


def test_excludes_that_leave_nothing_are_an_error():
    write("src/a.py")

    with pytest.raises(ConfigError, match="nothing is left to watch"):
        WatchFilter(["src"], [], ["src"])
