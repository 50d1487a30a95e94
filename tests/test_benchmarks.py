"""The benchmark's arithmetic; what it measures is for people to judge."""

from __future__ import annotations

import pytest

from benchmarks.hello import (
    BenchError,
    Result,
    Sample,
    cpu_of_tree,
    parse_h2load,
    parse_wrk,
    render,
)
from benchmarks.rows import ROWS

OUTPUT = """Running 3s test @ http://127.0.0.1:8000/
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   210.53us   58.11us   2.53ms   93.54%
    Req/Sec    75.56k     2.22k   77.85k    90.32%
  233139 requests in 3.10s, 32.91MB read
Requests/sec:  75210.98
Transfer/sec:     10.62MB
"""


def test_wrks_output_is_read():
    assert parse_wrk(OUTPUT) == (233139, 75210.98)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("  Non-2xx or 3xx responses: 7", "wrk: Non-2xx or 3xx responses: 7"),
        (
            "  Socket errors: connect 0, read 12, write 0, timeout 0",
            "wrk: Socket errors: connect 0, read 12, write 0, timeout 0",
        ),
    ],
)
def test_errors_are_not_counted_as_requests(line, reason):
    with pytest.raises(BenchError) as caught:
        parse_wrk(OUTPUT.replace("Requests/sec", f"{line}\nRequests/sec"))
    assert str(caught.value) == reason


def test_what_is_no_measurement_is_shown():
    with pytest.raises(BenchError, match="unable to connect to 127"):
        parse_wrk("unable to connect to 127.0.0.1:8000 Connection refused\n")


H2LOAD = """finished in 3.00s, 19502.70 req/s, 762.90KB/s
requests: 50000 total, 50000 started, 50000 done, 50000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 50000 2xx, 0 3xx, 0 4xx, 0 5xx
"""


def test_h2loads_output_is_read():
    assert parse_h2load(H2LOAD) == (50000, 19502.7)


@pytest.mark.parametrize("count", ["1 failed", "2 errored"])
def test_failed_streams_are_not_counted_as_requests(count):
    with pytest.raises(BenchError, match=f"h2load: 50000 succeeded, .*{count}"):
        parse_h2load(H2LOAD.replace(f"0 {count[2:]}", count))


def samples(*cpu: float) -> list[Sample]:
    return [Sample(each, 1e6 / each) for each in cpu]


def test_table_has_medians_and_ratios():
    result = Result(
        "ASGI hello",
        {
            "gateway": samples(99.0, 10.0, 9.0),
            "granian": samples(16.0, 16.0, 16.0),
            "uvicorn": samples(19.0, 20.0, 80.0),
        },
    )
    assert render([result]).splitlines()[2:] == [
        "| ASGI hello | gateway | 10.0 | 100,000 | 0.50 | 0.62 |",
        "| | granian | 16.0 | 62,500 | 0.80 | 1.00 |",
        "| | uvicorn | 20.0 | 50,000 | 1.00 | 1.25 |",
    ]


def test_every_line_of_the_table_has_the_columns_of_its_head():
    one = Result("a", {"gateway": samples(1.0), "uvicorn": samples(2.0)})
    assert {line.count("|") for line in render([one, one]).splitlines()} == {7}


@pytest.mark.parametrize("key", ROWS)
def test_every_row_has_gateway_first_and_uvicorn_beside_it(key):
    ours, *peers = ROWS[key].servers
    assert ours.startswith("gateway")
    assert any(name.startswith("uvicorn") for name in peers)


def test_cpu_of_a_process_includes_those_below_it(tmp_path):
    for pid, parent, user, system in ((1, 0, 5, 5), (20, 1, 100, 50), (300, 20, 30, 10)):
        (tmp_path / f"{pid}").mkdir()
        fields = [f"{pid}", "(a (b) c)", "S", f"{parent}", *["0"] * 9, f"{user}", f"{system}"]
        (tmp_path / f"{pid}" / "stat").write_text(" ".join([*fields, *["0"] * 30]))
    assert cpu_of_tree(20, tmp_path, ticks=100) == 1.9
