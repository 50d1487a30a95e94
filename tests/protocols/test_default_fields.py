"""Fields of every response: Server, Date, what the settings add."""

from __future__ import annotations

from gateway.clock import Clock
from gateway.protocols.default_fields import DefaultFields

from .harness import FakeTime


def clock() -> tuple[Clock, FakeTime]:
    time = FakeTime()
    return Clock(monotonic=time, time=time), time


def test_server_and_date_come_first_and_the_rest_behind() -> None:
    fields = DefaultFields(clock()[0], server=b"gateway", date=True, extra=[(b"x", b"y")])
    assert fields.beside(()) == [
        (b"server", b"gateway"),
        (b"date", b"Thu, 01 Jan 1970 00:16:40 GMT"),
        (b"x", b"y"),
    ]


def test_neither_need_be_sent() -> None:
    assert DefaultFields(clock()[0], server=None, date=False).beside(()) == []


def test_what_the_application_sent_itself_is_left_out() -> None:
    fields = DefaultFields(clock()[0], server=b"gateway", date=True)
    assert [name for name, _ in fields.beside((b"date",))] == [b"server"]
    assert [name for name, _ in fields.beside((b"server",))] == [b"date"]
    assert fields.beside((b"server", b"date")) == []


def test_extra_names_are_sent_in_lower_case() -> None:
    fields = DefaultFields(clock()[0], server=None, date=False, extra=[(b"X-Frame", b"DENY")])
    assert fields.beside(()) == [(b"x-frame", b"DENY")]


def test_one_extra_name_may_come_twice() -> None:
    fields = DefaultFields(clock()[0], server=None, date=False, extra=[(b"a", b"1"), (b"a", b"2")])
    assert fields.beside(()) == [(b"a", b"1"), (b"a", b"2")]


def test_it_is_the_same_list_within_a_second() -> None:
    fields = DefaultFields(clock()[0], server=b"gateway", date=True)
    assert fields.beside(()) is fields.beside(())


def test_the_next_second_has_its_own_date() -> None:
    now, time = clock()
    fields = DefaultFields(now, server=None, date=True)
    before = fields.beside(())
    time.now += 1
    now.tick()
    assert before == [(b"date", b"Thu, 01 Jan 1970 00:16:40 GMT")]
    assert fields.beside(()) == [(b"date", b"Thu, 01 Jan 1970 00:16:41 GMT")]
