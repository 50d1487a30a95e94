from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings.bind import Bind
from gateway.settings.kinds import Choice, Flag, Integer, Invalid, suggest
from gateway.settings.lists import Binds, Directories, Fields, Networks, Origins, Patterns
from gateway.settings.mounts import Middleware, Stack, is_plain, split_key
from gateway.settings.quantities import Duration, Level, Mode, Size, WorkerCount
from gateway.settings.texts import Account, Host, ImportString, LogFile, Reference, RootPath


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30s", 30),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("2h", 7200),
        (5, 5),
        ("5", 5),
        (0.25, 0.25),
        ("1.5s", 1.5),
        ("0", 0),
    ],
)
def test_durations(written, seconds):
    assert Duration().read(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "s", "5x", -1, "-1s", True, "30s1m", float("inf"), float("nan"), [], None]
)
def test_what_is_no_duration(written):
    with pytest.raises(Invalid):
        Duration().read(written)


@given(st.integers(0, 10**6))
def test_a_shown_duration_reads_as_itself(milliseconds):
    seconds = milliseconds / 1000
    shown = Duration().show(seconds)

    assert Duration().read(shown) == pytest.approx(seconds, rel=1e-5)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("16MiB", 16 << 20),
        ("64k", 65536),
        ("64KB", 65536),
        (5, 5),
        ("5", 5),
        ("1g", 1 << 30),
        ("7b", 7),
    ],
)
def test_sizes(written, size):
    assert Size().read(written) == size


@given(st.integers(0, 1 << 40))
def test_a_shown_size_reads_as_itself(size):
    assert Size().read(Size().show(size)) == size


@pytest.mark.parametrize("written", ["", "k", "5x", -1, True, 1.5, "1 TiB"])
def test_what_is_no_size(written):
    with pytest.raises(Invalid):
        Size().read(written)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(43200.0, "12h"), (90.0, "90s"), (120.0, "2m"), (0.0, "0s")]
)
def test_a_duration_is_shown_in_its_largest_whole_unit(seconds, shown):
    assert Duration().show(seconds) == shown


def test_a_time_or_size_of_zero_may_mean_none():
    assert Duration(low=1, zero_is_none=True).read("0") is None
    assert Duration(low=1, zero_is_none=True).read("0s") is None
    assert Size(low=1024, zero_is_none=True).read(0) is None
    assert Duration().read(0) == 0.0
    assert Size().read("0") == 0


def test_the_least_time_and_size_are_said():
    with pytest.raises(Invalid, match="a duration of at least 1s such as 30s, or 0 for none"):
        Duration(low=1, zero_is_none=True).read("900ms")
    with pytest.raises(Invalid, match="a size of at least 16MiB such as 256MiB, or 0 for none"):
        Size(low=16 << 20, zero_is_none=True).read(512)


@pytest.mark.parametrize(("written", "count"), [("auto", "auto"), ("4", 4), (1, 1)])
def test_worker_counts(written, count):
    assert WorkerCount().read(written) == count


@pytest.mark.parametrize("written", [0, "0", -1, "many", "", 1.5, True, None])
def test_what_is_no_worker_count(written):
    with pytest.raises(Invalid, match="auto or a whole number of at least 1"):
        WorkerCount().read(written)


@pytest.mark.parametrize(
    ("written", "mode"),
    [
        ("660", 0o660),
        ("0660", 0o660),
        ("0o660", 0o660),
        (" 22 ", 0o22),
        ("0", 0),
        ("7", 7),
        (0o660, 0o660),
    ],
)
def test_permissions_are_octal(written, mode):
    assert Mode().read(written) == mode


@pytest.mark.parametrize("written", ["888", "0x1f", "1777", "rw-", "", -1, 0o1000, True, 1.5, None])
def test_what_is_no_permission(written):
    with pytest.raises(Invalid, match="octal permissions such as 0o660"):
        Mode().read(written)


def test_a_decimal_number_that_looks_octal_is_told_apart():
    with pytest.raises(Invalid) as caught:
        Mode().read(660)

    assert caught.value.hint == "write 0o660"


@given(st.integers(0, 0o777))
def test_a_shown_permission_reads_as_itself(mode):
    assert Mode().read(Mode().show(mode)) == mode


@pytest.mark.parametrize(
    ("written", "name"), [("www-data", "www-data"), (33, "33"), ("33", "33"), (0, "0")]
)
def test_accounts(written, name):
    assert Account().read(written) == name


@pytest.mark.parametrize("written", ["", "a b", "www:www", "/etc", -1, True, 1.5])
def test_what_is_no_account(written):
    with pytest.raises(Invalid, match="a name or a number"):
        Account().read(written)


def test_a_dash_is_the_standard_stream():
    assert LogFile().read("-") is None
    assert LogFile().read("x.log") == "x.log"
    assert LogFile().read(Path("x.log")) == "x.log"


@pytest.mark.parametrize("written", ["hooks", "hooks:server", "site.hooks:Hooks.live"])
def test_references(written):
    assert Reference().read(written) == written


@pytest.mark.parametrize("written", ["hooks:", ":x", "a-b:x", "a:b()", "", 5, print])
def test_what_is_no_reference(written):
    with pytest.raises(Invalid, match="an import string, module or module:attribute"):
        Reference().read(written)


def test_patterns_and_directories_from_one_text_or_several():
    assert Patterns().read("*.html, *.css") == ("*.html", "*.css")
    assert Patterns().read(["{a,b}/*"]) == ("{a,b}/*",)
    assert Directories().read("src") == ("src",)
    assert Directories().read(Path("src")) == ("src",)
    assert Directories().read((Path("src"), "lib")) == ("src", "lib")


def test_origins_are_what_browsers_send():
    assert Origins().read("https://Example.com, http://[::1]:8000") == (
        "https://example.com",
        "http://[::1]:8000",
    )
    assert Origins().read(["null", "chrome-extension://abc"]) == ("null", "chrome-extension://abc")


def test_a_client_without_an_origin_is_none():
    origins = Origins().read("https://example.com,none")
    assert origins == ("https://example.com", "")
    assert Origins().show(origins) == "https://example.com, none"


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("https://example.com/chat", "write 'https://example.com', without a path"),
        ("example.com:8000", "write 'https://example.com:8000'"),
        ("*", "leave it out for any"),
        ("https://bücher.example", ""),
        (7, ""),
        ([7], ""),
    ],
)
def test_what_is_no_origin(written, hint):
    with pytest.raises(Invalid) as caught:
        Origins().read(written)
    assert caught.value.hint == hint


@pytest.mark.parametrize("kind", [Patterns(), Directories()])
def test_an_empty_item_is_pointed_at(kind):
    with pytest.raises(Invalid) as caught:
        kind.read(["a", ""])

    assert caught.value.path == (1,)


def test_what_a_file_could_hold_is_plain():
    assert is_plain({"a": [1, 1.5, True, None, "x", date(2026, 1, 1)]})
    assert not is_plain({"a": [print]})
    assert not is_plain((object(),))


def test_integers_keep_their_range():
    port = Integer(low=0, high=65535)

    assert port.read("0") == 0
    assert port.read(65535) == 65535
    for value in (65536, -1, "x", "", True, 1.0, "1.5"):
        with pytest.raises(Invalid, match="from 0 to 65535"):
            port.read(value)


def test_a_limit_of_zero_is_no_limit():
    assert Integer(low=1, zero_is_none=True).read("0") is None


def test_flags_read_words():
    assert [Flag().read(word) for word in (True, "1", "Yes", "on", "TRUE")] == [True] * 5
    assert [Flag().read(word) for word in (False, "0", "no", "OFF", "false")] == [False] * 5
    for word in (1, 0, "maybe", ""):
        with pytest.raises(Invalid):
            Flag().read(word)


def test_a_choice_suggests_the_nearest():
    with pytest.raises(Invalid) as caught:
        Choice(("auto", "asyncio", "uvloop")).read("uvlop")

    assert caught.value.hint == "did you mean 'uvloop'?"


@pytest.mark.parametrize(("written", "level"), [("info", 20), ("TRACE", 5), (15, 15), ("15", 15)])
def test_levels_by_name_and_number(written, level):
    assert Level().read(written) == level


@pytest.mark.parametrize("written", ["loud", -1, True, None])
def test_what_is_no_level(written):
    with pytest.raises(Invalid):
        Level().read(written)


@pytest.mark.parametrize("host", ["localhost", "::1", "[::1]", "10.0.0.1", "my-host"])
def test_hosts(host):
    assert Host().read(host) == host


def test_a_host_with_a_port_is_told_apart():
    with pytest.raises(Invalid) as caught:
        Host().read("0.0.0.0:80")

    assert caught.value.hint == "give host 0.0.0.0 and port 80, or bind 0.0.0.0:80"


def test_a_root_path_begins_with_a_slash_and_ends_with_none():
    assert RootPath().read("/api/") == "/api"
    assert RootPath().read("/") == ""
    with pytest.raises(Invalid) as caught:
        RootPath().read("api")
    assert caught.value.hint == "write '/api'"


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("main", "try main:app"),
        ("mysite/wsgi.py", "try mysite.wsgi:application"),
        ("main:", "try main:app"),
    ],
)
def test_an_import_string_without_its_attribute_is_completed(written, hint):
    with pytest.raises(Invalid) as caught:
        ImportString().read(written)

    assert caught.value.hint == hint


def test_an_application_may_be_an_object_or_a_call():
    assert ImportString().read(print) is print
    assert ImportString().read("main:create_app('x=1')") == "main:create_app('x=1')"


@pytest.mark.parametrize(
    ("written", "bind"),
    [
        ("127.0.0.1:80", Bind(host="127.0.0.1", port=80)),
        ("[::1]:0", Bind(host="::1", port=0)),
        ("[::]", Bind(host="::", port=8000)),
        (":9000", Bind(host="0.0.0.0", port=9000)),
        ("localhost", Bind(host="localhost", port=8000)),
        ("unix:/run/a.sock", Bind(path="/run/a.sock")),
        ("unix:///run/a.sock", Bind(path="/run/a.sock")),
        ("unix:a.sock", Bind(path="a.sock")),
        ("fd://3", Bind(fd=3)),
        ("systemd:web", Bind(name="web")),
        ("systemd:my-site.socket", Bind(name="my-site.socket")),
        ("systemd:", Bind(name="")),
    ],
)
def test_addresses(written, bind):
    assert Bind.parse(written) == bind
    assert Bind.parse(str(bind)) == bind


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("8000", "write '127.0.0.1:8000', or ':8000' for all interfaces"),
        ("/run/a.sock", "write 'unix:/run/a.sock'"),
        ("::1", "write '[::1]:8000'"),
        ("::", "write '[::]:8000'"),
        ("2001:db8::8:800", "write '[2001:db8::8]:800', or '[2001:db8::8:800]:8000'"),
        (":::8000", "write '[::]:8000'"),
        ("1:2:3:4:5:6:7:8:80", "write '[1:2:3:4:5:6:7:8]:80'"),
        ("fe80::1%eth0", "write '[fe80::1%eth0]:8000'"),
        ("a:b:c", ""),
        ("http://a:80/", "write 'a:80'"),
        ("http://a", "write 'a'"),
        ("a:99999", "a port is a whole number from 0 to 65535"),
        ("a b:1", ""),
        ("fd://x", "write fd:// and a number"),
        ("unix:", "write unix:/path"),
        ("systemd:a:b", "write systemd: and the FileDescriptorName= of the socket unit"),
        ("systemd:a b", "write systemd: and the FileDescriptorName= of the socket unit"),
        ("systemd://web", "write 'systemd:web'"),
        ("", ""),
    ],
)
def test_what_is_no_address(written, hint):
    with pytest.raises(ValueError) as caught:
        Bind.parse(written)

    assert str(caught.value) == hint


def test_binds_point_at_the_wrong_item():
    assert Binds().read("a:1, b:2") == ("a:1", "b:2")
    with pytest.raises(Invalid) as caught:
        Binds().read(["a:1", "2"])
    assert caught.value.path == (1,)


def test_networks_keep_literals_and_refuse_what_trusts_nobody():
    assert Networks().read("10.0.0.0/8, ::1,*,/run/a.sock") == (
        "10.0.0.0/8",
        "::1",
        "*",
        "/run/a.sock",
    )
    for wrong in ("10.0.0.0/33", "10.0.0.1/8", "10.0.0", "::1/129"):
        with pytest.raises(Invalid):
            Networks().read(wrong)


@pytest.mark.parametrize(
    "written",
    [["X-A: b:c", "Y:z"], {"X-A": "b:c", "Y": "z"}, [("X-A", "b:c"), ("Y", "z")], "X-A: b:c\nY: z"],
)
def test_header_fields_in_every_shape(written):
    assert Fields().read(written) == (("X-A", "b:c"), ("Y", "z"))


@pytest.mark.parametrize("written", [["no colon"], ["a b: c"], ["a: b\nc: d"], ["é: 1"], [1], 5])
def test_what_is_no_header_field(written):
    with pytest.raises(Invalid):
        Fields().read(written)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("X: a\nY: b", "the value has a line break; one field each"),
        ("X: a\rb", "the value has a line break; one field each"),
        ("X: a\x00b", "the value has a control character, '\\x00'"),
        ("X: 5 €", "the value has a character outside Latin-1, '€'"),
        ("X", "write 'Name: Value'"),
    ],
)
def test_what_is_wrong_with_a_header_field_is_said(written, hint):
    with pytest.raises(Invalid) as caught:
        Fields().read([written])

    assert caught.value.hint == hint


def test_middleware_by_string_and_by_table():
    stack = Stack().read(["m:A", {"use": "m:B", "allow_origins": ["*"]}])

    assert stack == (Middleware(use="m:A"), Middleware(use="m:B", options={"allow_origins": ["*"]}))


@pytest.mark.parametrize(
    ("written", "path"),
    [([{"us": "m:A"}], (0,)), (["m:A", "m"], (1,)), ([{"use": 5}], (0, "use")), ([5], (0,))],
)
def test_wrong_middleware_is_pointed_at(written, path):
    with pytest.raises(Invalid) as caught:
        Stack().read(written)

    assert caught.value.path == path


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("/", ("", "/")),
        ("/api", ("", "/api")),
        ("/api/", ("", "/api")),
        ("/a/b", ("", "/a/b")),
        ("Example.COM/", ("example.com", "/")),
        ("*.example.com/api/", ("*.example.com", "/api")),
        ("[::1]/", ("[::1]", "/")),
        ("/café", ("", "/café")),
    ],
)
def test_mount_keys(key, parts):
    assert split_key(key) == parts


@pytest.mark.parametrize(
    ("key", "message", "hint"),
    [
        (
            "api",
            "a mount key is a path or host/path, not 'api'",
            "write '/api' for a path, 'api/' for a host",
        ),
        (
            "example.com",
            "a mount key is a path or host/path, not 'example.com'",
            "write 'example.com/' for a host",
        ),
        ("a:80/", "'a:80' is not a host", "mounts take no port"),
        ("a.*.b/", "'a.*.b' is not a host", "example.com/ and *.example.com/ are hosts"),
        ("/a/*", "a mount path cannot be '/a/*'", "a prefix takes all below it"),
        ("/a%20b", "a mount path cannot be '/a%20b'", "write plain, decoded segments"),
        ("/a//b", "a mount path cannot be '/a//b'", "write plain, decoded segments"),
        ("/a/../b", "a mount path cannot be '/a/../b'", "write plain, decoded segments"),
    ],
)
def test_what_is_no_mount_key(key, message, hint):
    with pytest.raises(Invalid) as caught:
        split_key(key)

    assert (caught.value.expected, caught.value.hint) == (message, hint)


def test_nothing_near_is_not_suggested():
    assert suggest("zzz", ("port", "host")) == ""


def test_another_servers_word_stands_for_an_option():
    kind = Choice(("auto", "websockets"), {"websockets-sansio": "websockets"})
    assert kind.read("websockets-sansio") == "websockets"
    assert kind.metavar == "auto|websockets"
