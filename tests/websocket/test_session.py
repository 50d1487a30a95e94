"""A session from accept to end: messages, closing, what a peer may not do."""

from __future__ import annotations

import pytest

from gateway.exchange import ClientGone, ResponseError
from gateway.websocket.close_codes import close_payload
from gateway.websocket.codec import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT

from .fakes import ACCEPT, Client, masked, opening_on_http2

# --- the opening ----------------------------------------------------------------------------------


def test_accept_opens_the_tunnel():
    client = Client(opening_fields=[(b"sec-websocket-protocol", b"chat")])
    client.session.accept(subprotocol="chat", headers=[(b"X-A", b"1")])
    assert client.wire.status == 101
    assert client.wire.headers == [
        (b"sec-websocket-accept", ACCEPT),
        (b"sec-websocket-protocol", b"chat"),
        (b"x-a", b"1"),
    ]
    assert client.session.state == "open"


def test_accept_over_http2_opens_the_tunnel_with_200():
    client = Client(request=opening_on_http2())
    client.session.accept(headers=[(b"x-a", b"1")])
    assert (client.wire.status, client.wire.headers) == (200, [(b"x-a", b"1")])
    client.send(TEXT, b"hello")
    assert client.messages() == ["hello"]
    client.session.send("you")
    assert client.frames() == [(TEXT, b"you")]


def test_a_client_that_has_left_when_the_tunnel_opens_has_left():
    client = Client()
    client.wire.half = True
    with pytest.raises(ClientGone):
        client.session.accept()
    assert client.session.state == "closed"
    assert client.session.closed == (1006, "")


def test_a_subprotocol_that_was_not_offered_leaves_the_request_to_be_answered():
    client = Client()
    with pytest.raises(ResponseError):
        client.session.accept(subprotocol="chat")
    assert client.session.state == "connecting"
    assert client.exchange.status is None


def test_a_second_accept_is_an_error():
    client = Client.accepted()
    with pytest.raises(ResponseError):
        client.session.accept()


def test_frames_sent_ahead_of_the_accept_are_read_after_it():
    client = Client()
    client.send(TEXT, b"first")
    client.wire.early = masked(TEXT, b"second")
    assert client.messages() == []
    client.session.accept()
    assert client.messages() == ["first", "second"]


def test_sending_before_the_accept_is_an_error():
    with pytest.raises(ResponseError):
        Client().session.send("early")


def test_a_close_before_the_accept_refuses():
    client = Client()
    client.session.close()
    assert client.wire.status == 403
    assert client.session.closed == (1006, "")
    with pytest.raises(ClientGone):
        client.session.accept()


def test_an_application_that_takes_too_long_to_accept_is_answered_for():
    client = Client(handshake_timeout=30.0)
    client.pass_time(29)
    assert client.wire.status is None
    client.pass_time(30)
    assert client.wire.status == 503
    assert client.session.closed == (1006, "")


def test_the_accept_ends_the_time_for_it():
    client = Client.accepted(handshake_timeout=30.0)
    assert client.wire.deadline is None


@pytest.mark.parametrize("end", ["peer_closed", "lost"])
def test_a_client_that_leaves_before_the_accept_has_left(end):
    client = Client()
    getattr(client.exchange, end)()
    assert client.session.closed == (1006, "")
    assert client.exchange.finished
    with pytest.raises(ClientGone):
        client.session.accept()


# --- messages -------------------------------------------------------------------------------------


def test_messages_arrive_as_what_they_are():
    client = Client.accepted()
    client.send(TEXT, "hé".encode())
    client.send(BINARY, b"\x00\xff")
    client.send(TEXT)
    assert client.messages() == ["hé", b"\x00\xff", ""]
    assert client.session.messages_received == 3


def test_messages_leave_as_what_they_are():
    client = Client.accepted()
    client.session.send("hé")
    client.session.send(b"\x00\xff")
    assert client.frames() == [(TEXT, "hé".encode()), (BINARY, b"\x00\xff")]
    assert client.session.messages_sent == 2


def test_the_listener_hears_of_each_read():
    client = Client.accepted()
    before = client.listener.news
    client.send_bytes(masked(TEXT, b"a") + masked(TEXT, b"b"))
    assert client.listener.news == before + 1


def test_a_lone_surrogate_is_an_error_and_nothing_is_sent():
    client = Client.accepted()
    with pytest.raises(UnicodeEncodeError):
        client.session.send("\ud800")
    assert client.frames() == []
    assert client.session.messages_sent == 0


def test_fragments_make_one_message():
    client = Client.accepted()
    client.send(TEXT, b"a", fin=False)
    client.send(CONTINUATION, b"", fin=False)
    client.send(CONTINUATION, b"b", fin=False)
    assert client.messages() == []
    client.send(CONTINUATION, b"c")
    client.send(BINARY, b"1", fin=False)
    client.send(CONTINUATION, b"2")
    assert client.messages() == ["abc", b"12"]


def test_a_ping_between_fragments_is_answered_at_once():
    client = Client.accepted()
    client.send(TEXT, b"a", fin=False)
    client.send(PING, b"now")
    assert client.frames() == [(PONG, b"now")]
    client.send(CONTINUATION, b"b")
    assert client.messages() == ["ab"]


def test_characters_may_be_cut_anywhere():
    text = "κόσμε 🙂 \U0010ffff"
    data = text.encode()
    client = Client.accepted()
    client.send(TEXT, data[:1], fin=False)
    for byte in data[1:]:
        client.send(CONTINUATION, bytes([byte]), fin=False)
    client.send(CONTINUATION)
    assert client.messages() == [text]


# --- what a peer may not do -----------------------------------------------------------------------


def assert_failed(client: Client, code: int) -> None:
    (frame,) = client.frames()
    assert frame[0] == CLOSE
    assert int.from_bytes(frame[1][:2], "big") == code
    assert client.session.closed is not None
    assert client.session.closed[0] == code
    assert client.wire.ended
    assert client.wire.finished == 1
    with pytest.raises(ClientGone):
        client.session.send("more")


@pytest.mark.parametrize(
    "data",
    [b"\xff", b"a\x80", b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"],
)
def test_text_that_is_not_utf8_ends_in_1007(data):
    client = Client.accepted()
    client.send(TEXT, data)
    assert_failed(client, 1007)


@pytest.mark.parametrize("data", [b"ok \xff", b"\xf4\x90", b"\xc0", b"\xe0\x80", b"\xed\xa0"])
def test_a_byte_that_can_never_be_utf8_is_refused_before_the_message_ends(data):
    client = Client.accepted()
    client.send(TEXT, data, fin=False)
    assert_failed(client, 1007)


def test_a_byte_that_breaks_a_character_begun_in_the_fragment_before_is_refused_at_once():
    client = Client.accepted()
    client.send(TEXT, b"caf\xc3", fin=False)
    client.send(CONTINUATION, b"(", fin=False)
    assert_failed(client, 1007)


def test_a_message_that_ends_within_a_character_is_refused():
    client = Client.accepted()
    client.send(TEXT, b"caf", fin=False)
    client.send(CONTINUATION, b"\xc3")
    assert_failed(client, 1007)


def test_bytes_in_fragments_need_not_be_utf8():
    client = Client.accepted()
    client.send(BINARY, b"\xff", fin=False)
    client.send(CONTINUATION, b"\xfe")
    assert client.messages() == [b"\xff\xfe"]


def test_a_frame_over_the_limit_ends_in_1009():
    client = Client.accepted(max_size=1000)
    client.send(BINARY, bytes(1001))
    assert_failed(client, 1009)


def test_a_message_of_the_limit_passes():
    client = Client.accepted(max_size=1000)
    client.send(BINARY, bytes(1000))
    client.send(BINARY, bytes(400), fin=False)
    assert client.messages() == [bytes(1000)]
    client.send(CONTINUATION, bytes(600))
    assert client.messages() == [bytes(1000)]


def test_fragments_over_the_limit_together_end_in_1009_before_the_last_one():
    client = Client.accepted(max_size=1000)
    client.send(BINARY, bytes(600), fin=False)
    client.send(CONTINUATION, bytes(401), fin=False)
    assert_failed(client, 1009)


def test_a_broken_frame_ends_in_1002_after_what_came_before_it():
    client = Client.accepted()
    client.send_bytes(masked(TEXT, b"before") + b"\x83\x80" + masked(TEXT, b"after"))
    assert client.messages() == ["before"]
    assert_failed(client, 1002)


def test_nothing_is_read_after_a_violation():
    client = Client.accepted()
    client.send_bytes(masked(TEXT, b"\xff") + masked(PING, b"x") + masked(TEXT, b"after"))
    assert_failed(client, 1007)
    assert client.messages() == []


# --- closing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 1012, 1014, 3000, 4999])
def test_a_close_of_the_peer_is_answered_with_its_code(code):
    client = Client.accepted()
    client.send(CLOSE, close_payload(code, "thänks"))
    assert client.frames() == [(CLOSE, close_payload(code))]
    assert client.session.closed == (code, "thänks")
    assert client.wire.ended


def test_a_close_without_a_code_is_answered_without_one():
    client = Client.accepted()
    client.send(CLOSE)
    assert client.frames() == [(CLOSE, b"")]
    assert client.session.closed == (1005, "")


@pytest.mark.parametrize(
    "code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
)
def test_a_code_that_may_not_be_sent_ends_in_1002(code):
    client = Client.accepted()
    client.send(CLOSE, code.to_bytes(2, "big"))
    assert_failed(client, 1002)


def test_half_a_code_ends_in_1002():
    client = Client.accepted()
    client.send(CLOSE, b"\x03")
    assert_failed(client, 1002)


def test_a_reason_that_is_not_utf8_ends_in_1007():
    client = Client.accepted()
    client.send(CLOSE, b"\x03\xe8\xff")
    assert_failed(client, 1007)


def test_a_close_within_a_message_is_a_close():
    client = Client.accepted()
    client.send(TEXT, b"half", fin=False)
    client.send(CLOSE, close_payload(1000))
    assert client.session.closed == (1000, "")
    assert client.messages() == []


def test_what_follows_a_close_is_ignored():
    client = Client.accepted()
    client.send_bytes(
        masked(TEXT, b"a") + masked(CLOSE, close_payload(1000)) + masked(PING) + masked(TEXT, b"b")
    )
    assert client.messages() == ["a"]
    assert client.frames() == [(CLOSE, close_payload(1000))]


def test_our_close_waits_for_the_close_of_the_peer():
    client = Client.accepted()
    client.session.close(4000, "bye")
    assert client.frames() == [(CLOSE, close_payload(4000, "bye"))]
    assert client.session.closed == (4000, "bye")
    assert not client.exchange.finished
    client.send(CLOSE, close_payload(4000))
    assert client.frames() == []
    assert client.wire.ended
    assert client.session.closed == (4000, "bye")


def test_after_our_close_nothing_is_answered_and_nothing_is_taken():
    client = Client.accepted()
    client.session.close()
    client.frames()
    client.send_bytes(masked(TEXT, b"late") + masked(PING, b"x"))
    client.send(TEXT, b"\xff")
    assert client.frames() == []
    assert client.messages() == []
    assert client.unread() == 0
    assert client.session.state == "closing"


def test_a_peer_that_does_not_answer_our_close_is_waited_for_ten_seconds():
    client = Client.accepted()
    client.session.close()
    client.pass_time(9)
    assert not client.exchange.finished
    client.pass_time(10)
    assert client.wire.ended
    assert client.session.state == "closed"


@pytest.mark.parametrize("garbage", [b"\x83\x80", b"\x88\x00"])
def test_a_broken_frame_after_our_close_is_the_end(garbage):
    client = Client.accepted()
    client.session.close()
    client.frames()
    client.send_bytes(garbage)
    assert client.wire.ended
    assert client.frames() == []
    assert client.session.closed == (1000, "")


def test_a_second_close_is_ignored():
    client = Client.accepted()
    client.session.close(1000)
    client.session.close(1005)
    assert client.frames() == [(CLOSE, close_payload(1000))]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 70000])
def test_a_code_that_may_not_be_on_the_wire_is_an_error(code):
    client = Client.accepted()
    with pytest.raises(ResponseError):
        client.session.close(code)
    assert client.frames() == []
    assert client.session.state == "open"


@pytest.mark.parametrize(
    ("reason", "sent"),
    [("a" * 123, "a" * 123), ("a" * 124, "a" * 123), ("é" * 62, "é" * 61), ("🙂" * 31, "🙂" * 30)],
)
def test_a_reason_that_is_too_long_is_cut_at_a_character(reason, sent):
    client = Client.accepted()
    client.session.close(1000, reason)
    assert client.frames() == [(CLOSE, b"\x03\xe8" + sent.encode())]


def test_sending_after_our_close_raises():
    client = Client.accepted()
    client.session.close()
    with pytest.raises(ClientGone):
        client.session.send("late")


# --- a close frame behind messages that were not taken ---------------------------------------------


def closing_behind_a_message() -> Client:
    client = Client.accepted()
    client.send_bytes(masked(TEXT, b"last words") + masked(CLOSE, close_payload(3000, "bye")))
    assert client.session.closed is None
    assert client.frames() == []
    return client


def test_a_message_in_front_of_a_close_can_be_answered():
    client = closing_behind_a_message()
    assert client.session.take() == "last words"
    client.session.send("answer")
    assert client.session.take() is None
    assert client.frames() == [(TEXT, b"answer"), (CLOSE, close_payload(3000))]
    assert client.session.closed == (3000, "bye")


def test_a_message_in_front_of_a_violation_can_be_answered():
    client = Client.accepted()
    client.send_bytes(masked(TEXT, b"good") + b"\x83\x80")
    assert client.session.take() == "good"
    client.session.send("answer")
    assert client.session.take() is None
    assert [frame[0] for frame in client.frames()] == [TEXT, CLOSE]


def test_an_application_that_does_not_take_delays_the_answer_to_a_close_by_a_second():
    client = closing_behind_a_message()
    client.pass_time(1)
    assert client.frames() == [(CLOSE, close_payload(3000))]
    assert client.session.closed == (3000, "bye")
    assert client.messages() == ["last words"]


def test_an_application_that_closes_without_taking_answers_the_close():
    client = closing_behind_a_message()
    client.session.close(1011)
    assert client.frames() == [(CLOSE, close_payload(3000))]
    assert client.wire.ended


def test_a_shutdown_answers_a_close_that_waits():
    client = closing_behind_a_message()
    client.session.on_shutdown()
    assert client.frames() == [(CLOSE, close_payload(3000))]


def test_a_connection_lost_with_a_close_unanswered_has_its_code():
    client = closing_behind_a_message()
    client.exchange.lost()
    assert client.session.closed == (3000, "bye")
    assert client.messages() == ["last words"]


def test_an_end_of_file_behind_a_close_changes_nothing():
    client = closing_behind_a_message()
    client.exchange.peer_closed()
    client.messages()
    assert client.session.closed == (3000, "bye")
    assert client.frames() == [(CLOSE, close_payload(3000))]


def test_bytes_behind_a_close_that_waits_are_not_read():
    client = closing_behind_a_message()
    client.send(TEXT, b"more")
    client.send(PING, b"x")
    assert client.messages() == ["last words"]
    assert client.frames() == [(CLOSE, close_payload(3000))]


# --- the connection goes --------------------------------------------------------------------------


def test_an_end_without_a_close_frame_is_1006():
    client = Client.accepted()
    client.send(TEXT, b"last")
    client.exchange.peer_closed()
    assert client.session.closed == (1006, "")
    assert client.messages() == ["last"]
    assert client.frames() == []
    assert client.wire.ended


def test_a_lost_connection_is_1006():
    client = Client.accepted()
    before = client.listener.news
    client.exchange.lost()
    assert client.session.closed == (1006, "")
    assert client.listener.news == before + 1
    with pytest.raises(ClientGone):
        client.session.send("late")


def test_a_lost_connection_after_our_close_changes_nothing():
    client = Client.accepted()
    client.session.close(4000)
    client.exchange.lost()
    assert client.session.closed == (4000, "")
    assert client.session.state == "closed"


@pytest.mark.parametrize("end", ["close", "on_shutdown", "on_deadline"])
def test_a_connection_found_lost_while_the_session_says_goodbye_is_closed(end):
    client = Client.accepted(lifetime=5.0)
    client.clock.now += 5
    client.wire.dies = True
    getattr(client.session, end)()
    assert client.session.state == "closed"
    assert client.wire.finished == 1


def test_a_connection_found_lost_by_a_pong_is_closed():
    client = Client.accepted()
    client.wire.dies = True
    client.send_bytes(masked(PING) + masked(PING) + masked(TEXT, b"a"))
    assert client.session.closed == (1006, "")


def test_a_session_that_is_over_lets_its_exchange_go():
    client = Client.accepted()
    client.send(CLOSE)
    assert client.exchange.tunnel is None
    assert client.exchange.listener is None


def test_the_log_still_sees_the_session_when_the_exchange_finishes():
    client = Client.accepted()
    counted = []
    client.exchange.on_finish.append(
        lambda exchange: counted.append(
            (exchange.tunnel.messages_received, exchange.tunnel.messages_sent)
        )
    )
    client.send(TEXT, b"a")
    client.messages()
    client.session.send("b")
    client.session.send("c")
    client.send(CLOSE)
    assert counted == [(1, 2)]
