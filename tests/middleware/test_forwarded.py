from __future__ import annotations

from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.middleware.forwarded import elements_from_right


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" , ,", []),
        ("for=192.0.2.60;proto=http;by=203.0.113.43", [
            {"for": "192.0.2.60", "proto": "http", "by": "203.0.113.43"}]),
        ("For=a, for=b", [{"for": "b"}, {"for": "a"}]),
        ('for="[2001:db8::17]:4711" ; host="x,y;z"', [
            {"for": "[2001:db8::17]:4711", "host": "x,y;z"}]),
        (r'for="a\"b, c\\", for=d', [{"for": "d"}, {"for": 'a"b, c\\'}]),
        ("for=a;", [{"for": "a"}]),
        ("for", [{}]),
        ("=a", [{}]),
        ("for=a;for=b", [{}]),
        ('for="a"b', [{}]),
        ('for="a', [{}]),
    ],
)  # fmt: skip
def test_elements_come_from_the_right(text, expected):
    assert list(elements_from_right(text)) == expected


@pytest.mark.parametrize("left", ['for="', 'for="x', 'for=";host=evil', '"', 'a=\\"', ";;="])
def test_what_a_client_left_open_does_not_swallow_what_the_proxy_added(left):
    added = 'for="192.0.2.1:80";proto=https'

    first = next(elements_from_right(f"{left}, {added}"))

    assert first == {"for": "192.0.2.1:80", "proto": "https"}


@given(st.text(alphabet='for=ab",;\\ '))
def test_any_text_is_read_without_an_error(text):
    for element in elements_from_right(text):
        assert all(name == name.strip().lower() for name in element)


@pytest.mark.parametrize("unit", ['"', ",", "\\", 'a="b",', '\\"', ";", "a=b;"])
def test_time_is_linear(unit):
    text = unit * (65536 // len(unit))

    begin = perf_counter()
    list(elements_from_right(text))

    # Linear takes 10 to 60 ms here, quadratic more than 10 s.
    assert perf_counter() - begin < 2
