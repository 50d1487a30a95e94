from __future__ import annotations

import asyncio
import threading

from gateway.interfaces.mailbox import Mailbox


class CountingLoop:
    """Runs nothing by itself; the test decides when the loop comes round."""

    def __init__(self):
        self.callbacks = []

    def call_soon_threadsafe(self, callback):
        self.callbacks.append(callback)

    def run(self):
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            callback()


def test_many_posts_ring_once_and_keep_their_order():
    loop, got = CountingLoop(), []
    mailbox = Mailbox(loop)
    for number in range(5):
        mailbox.post(lambda number=number: got.append(number))
    assert len(loop.callbacks) == 1
    loop.run()
    assert got == [0, 1, 2, 3, 4]


def test_post_during_delivery_rings_again():
    loop, got = CountingLoop(), []
    mailbox = Mailbox(loop)
    mailbox.post(lambda: mailbox.post(lambda: got.append("second")))
    loop.run()
    assert (got, len(loop.callbacks)) == ([], 1)
    loop.run()
    assert got == ["second"]


def test_failing_callback_does_not_stop_the_others(caplog):
    loop, got = CountingLoop(), []
    mailbox = Mailbox(loop)
    mailbox.post(lambda: 1 / 0)
    mailbox.post(lambda: got.append(1))
    loop.run()
    assert got == [1]
    assert "ZeroDivisionError" in caplog.text


def test_closed_loop_is_quiet():
    loop = asyncio.new_event_loop()
    loop.close()
    Mailbox(loop).post(lambda: None)


def test_no_post_of_many_threads_is_lost():
    async def main():
        loop = asyncio.get_running_loop()
        mailbox = Mailbox(loop)
        got, done = [], asyncio.Event()

        def received(item):
            got.append(item)
            if len(got) == 8 * 2000:
                done.set()

        def post(thread):
            for number in range(2000):
                mailbox.post(lambda item=(thread, number): received(item))

        threads = [threading.Thread(target=post, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        await done.wait()
        for thread in threads:
            thread.join()
        for thread in range(8):
            assert [number for t, number in got if t == thread] == list(range(2000))

    asyncio.run(main())
