"""The router and the instances behind it: which one gets a request, when again, and what clients hear of it."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET /f/x HTTP/1.1\r\nhost: h\r\n\r\n"


def test_a_slow_client_slows_the_instance_down(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        written = 0
        blocked = asyncio.Event()

        async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal written
            await by_hand.read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n")
            while True:
                writer.write(b"x" * 1_000_000)
                written += 1_000_000
                try:
                    await asyncio.wait_for(writer.drain(), 0.3)
                except TimeoutError:
                    blocked.set()
                    raise ConnectionError from None

        async with bench() as b:
            await b.add(endless)
            link = socket.create_connection(("127.0.0.1", b.router.port))
            with link:
                link.sendall(GET)  # and never read
                await blocked.wait()
                assert written < 60_000_000

    run(scene())


def test_a_request_that_was_not_read_goes_to_another_instance(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async def reset_unread(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            by_hand.reset(writer)  # as the kernel does for a killed process that had not read its input

        async with bench(concurrency=1) as b:
            await b.add(reset_unread, "f-00001-a")
            await b.add(by_hand.always_ok, "f-00001-b")
            reader = await b.send(b"POST /f HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx")
            status, headers, _ = await by_hand.read_answer(reader)
            # First available is the instance that resets; at its second by_hand.reset it is given up.
            assert (status, headers[b"mlfn-instance"]) == (200, b"f-00001-b")
            assert b.owner.unreachables == ["f-00001-a"]

    run(scene())


def test_a_request_that_meets_a_connection_closed_meanwhile_is_sent_again(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        seen: list[bytes] = []

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append((await by_hand.read_request(reader))[0])
            writer.write(OK)

        async with bench() as b:
            target = await b.add(once)
            for _ in range(20):
                assert (await by_hand.read_answer(await b.send(GET)))[0] == 200
                # The instance has closed by now, or does so while the next request is on its way.
                assert len(target.idle) <= 1
        assert len(seen) == 20

    run(scene())


def test_an_instance_that_takes_no_connection_is_reported_and_another_one_taken(
    bench: Any, run: Any, by_hand: Any
) -> None:
    async def scene() -> None:
        async with bench(concurrency=1) as b:
            target = await b.add(by_hand.always_ok, "f-00001-a")
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                target.port = unused.getsockname()[1]
                await b.add(by_hand.always_ok, "f-00001-b")
                status, headers, _ = await by_hand.read_answer(await b.send(GET))
            assert (status, headers[b"mlfn-instance"]) == (200, b"f-00001-b")
            assert b.owner.unreachables == ["f-00001-a"]
            assert b.gate.ready == 1

    run(scene())


def test_a_request_that_was_read_is_never_sent_twice(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        seen = 0

        async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal seen
            await by_hand.read_request(reader)
            seen += 1

        async with bench() as b:
            await b.add(die)
            status, _, body = await by_hand.read_answer(await b.send(GET))
        assert status == 502
        assert "f-00001-a" in json.loads(body)["error"]
        assert seen == 1

    run(scene())


def test_an_answer_that_breaks_off_is_seen_as_broken(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            await b.add(by_hand.once(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"))
            reader = await b.send(GET)
            await reader.readuntil(b"\r\n\r\n")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(10)

    run(scene())


@pytest.mark.parametrize("with_instance", [False, True], ids=["waiting", "running"])
def test_the_time_for_a_request_is_bounded_waiting_included(
    bench: Any, run: Any, with_instance: bool, by_hand: Any
) -> None:
    async def scene() -> None:
        gone = asyncio.Event()

        async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await by_hand.read_request(reader)
            await reader.read()
            gone.set()

        async with bench(timeout_s=0.05) as b:
            if with_instance:
                await b.add(never)
            status, _, body = await by_hand.read_answer(await b.send(GET))
            assert status == 504
            assert "0.05 s" in json.loads(body)["error"]
            assert b.gate.active == 0
            if with_instance:
                await gone.wait()  # the instance learns that nobody wants its answer

    run(scene())


def test_a_client_that_goes_away_gives_its_place_back(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        arrived, left = asyncio.Event(), asyncio.Event()

        async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await by_hand.read_request(reader)
            arrived.set()
            await reader.read()
            left.set()

        async with bench(concurrency=1) as b:
            await b.add(never)
            _, writer = await b.dial()
            writer.write(GET)
            await arrived.wait()
            by_hand.reset(writer)
            await left.wait()
            assert b.gate.active == 0
            assert b.meter.in_flight == 0

    run(scene())


def test_a_draining_instance_finishes_and_gets_nothing_new(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        arrived, go = asyncio.Event(), asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await by_hand.read_request(reader)
            arrived.set()
            await go.wait()
            writer.write(OK)
            await writer.drain()

        async with bench() as b:
            await b.add(slow, "f-00001-a")
            first = await b.send(GET)
            await arrived.wait()
            assert not b.gate.drain("f-00001-a")
            await b.add(by_hand.always_ok, "f-00001-b")
            for _ in range(5):
                _, headers, _ = await by_hand.read_answer(await b.send(GET))
                assert headers[b"mlfn-instance"] == b"f-00001-b"
            assert b.owner.idles == []
            b.owner.changed.clear()
            go.set()
            assert (await by_hand.read_answer(first))[0] == 200
            await b.owner.changed.wait()
            assert b.owner.idles == ["f-00001-a"]

    run(scene())


def test_who_waits_is_told_when_no_instance_can_be_had(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            reader = await b.send(GET)
            await b.owner.changed.wait()
            loop = asyncio.get_running_loop()
            b.gate.block("function f cannot start: no memory", loop.time() + 7)
            for answer in (reader, await b.send(GET)):
                status, headers, body = await by_hand.read_answer(answer)
                assert status == 503
                assert 6 <= int(headers[b"retry-after"]) <= 7
                assert "no memory" in json.loads(body)["error"]
            await b.add(by_hand.always_ok)
            assert (await by_hand.read_answer(await b.send(GET)))[0] == 200

    run(scene())


def test_connections_to_instances_are_kept_and_used_again(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        connections = 0

        async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await by_hand.always_ok(reader, writer)

        async with bench() as b:
            await b.add(count)
            reader, writer = await b.dial()
            for _ in range(50):
                writer.write(GET)
                assert (await by_hand.read_answer(reader))[0] == 200
        assert connections == 1

    run(scene())
