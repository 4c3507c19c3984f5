"""The router as clients meet it: addresses, waiting, streams."""

from __future__ import annotations

import asyncio
import json
import math
import random
from typing import Any

import pytest

from mlfn_local.router import Route

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET /f/x HTTP/1.1\r\nhost: h\r\n\r\n"


def test_a_request_arrives_without_its_prefix_and_is_answered_with_who_did_it(
    bench: Any, run: Any, by_hand: Any
) -> None:
    async def scene() -> None:
        seen: list[bytes] = []
        async with bench() as b:
            await b.add(by_hand.recording(seen))
            status, headers, body = await by_hand.read_answer(
                await b.send(
                    b"POST /f/v2/models/f/infer?a=1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\n"
                    b"TraceParent: 00-1-2-01\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\r\nabc"
                )
            )
        assert (status, body) == (200, b"ok")
        assert headers[b"mlfn-revision"] == b"f-00001"
        assert headers[b"mlfn-instance"] == b"f-00001-a"
        head = seen[0].lower()
        assert head.startswith(b"post /v2/models/f/infer?a=1 http/1.1\r\n")
        assert head.endswith(b"\r\n\r\nabc")
        for line in (
            b"host: h:1",
            b"traceparent: 00-1-2-01",
            b"x-forwarded-for: 127.0.0.1",
            b"x-forwarded-host: h:1",
            b"x-forwarded-prefix: /f",
            b"content-length: 3",
        ):
            assert b"\r\n" + line + b"\r\n" in head
        assert b"x-hop" not in head

    run(scene())


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        (b"/f", b"h", b"/"),
        (b"/f?q", b"h", b"/?q"),
        (b"/f/", b"h", b"/"),
        (b"/f//a", b"h", b"//a"),
        (b"/x/y", b"f.localhost:80", b"/x/y"),
        (b"/f", b"F.LOCALHOST", b"/f"),
        (b"http://h/f/z", b"h", b"/z"),
        (b"http://f.localhost:1/z", b"other", b"/z"),
    ],
)
def test_path_and_host_name_the_function(
    bench: Any, run: Any, target: bytes, host: bytes, path: bytes, by_hand: Any
) -> None:
    async def scene() -> None:
        seen: list[bytes] = []
        async with bench() as b:
            await b.add(by_hand.recording(seen))
            status, _, _ = await by_hand.read_answer(
                await b.send(b"GET %b HTTP/1.1\r\nhost: %b\r\n\r\n" % (target, host))
            )
        assert status == 200
        assert seen[0].split()[1] == path

    run(scene())


def test_an_unknown_function_is_answered_with_those_that_are_known(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            status, _, body = await by_hand.read_answer(await b.send(b"GET /g/x HTTP/1.1\r\nhost: h\r\n\r\n"))
            assert status == 404
            assert "'g'" in json.loads(body)["error"]
            assert "functions: f" in json.loads(body)["error"]
            status, _, body = await by_hand.read_answer(await b.send(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"))
            assert (status, json.loads(body)) == (200, {"functions": ["f"]})

    run(scene())


def test_requests_wait_for_the_first_instance_and_poke_at_once(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            readers = [await b.send(GET) for _ in range(20)]
            await b.owner.changed.wait()
            while b.gate.waiting < 20:
                await asyncio.wait_for(b.owner.changed.wait(), 5)
                b.owner.changed.clear()
            assert b.owner.pokes == 20
            assert b.meter.in_flight == 20
            await b.add(by_hand.always_ok)
            answers = [await by_hand.read_answer(reader) for reader in readers]
            assert {status for status, _, _ in answers} == {200}
            assert all(float(headers[b"mlfn-held-seconds"]) > 0 for _, headers, _ in answers)
            assert b.meter.in_flight == 0

    run(scene())


def test_at_most_so_many_run_at_an_instance_and_ten_times_as_many_wait(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        running, most = 0, 0
        full, go = asyncio.Event(), asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal running, most
            while True:
                await by_hand.read_request(reader)
                running += 1
                most = max(most, running)
                full.set()
                await go.wait()
                running -= 1
                writer.write(OK)

        async with bench(concurrency=2) as b:
            await b.add(slow)
            answers = [asyncio.ensure_future(by_hand.read_answer(await b.send(GET))) for _ in range(25)]
            done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
            await full.wait()
            while len(done) < 3:
                more, _ = await asyncio.wait(set(answers) - done, return_when=asyncio.FIRST_COMPLETED)
                done |= more
            assert b.gate.waiting == 20
            go.set()
            results = [await answer for answer in answers]
        refused = [headers for status, headers, _ in results if status == 503]
        assert len(refused) == 3
        assert all(int(headers[b"retry-after"]) >= 1 for headers in refused)
        assert sum(status == 200 for status, _, _ in results) == 22
        assert most == 2

    run(scene())


def test_bodies_stream_both_ways_while_the_request_is_under_way(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            while size := int(await reader.readline(), 16):
                data = (await reader.readexactly(size + 2))[:-2]
                writer.write(b"%x\r\n%b\r\n" % (len(data), data.upper()))
            writer.write(b"0\r\n\r\n")

        async with bench() as b:
            await b.add(echo)
            reader, writer = await b.dial()
            writer.write(b"POST /f HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"transfer-encoding: chunked" in head
            for word in (b"one", b"two"):
                writer.write(b"%x\r\n%b\r\n" % (len(word), word))
                assert await reader.readexactly(8) == b"3\r\n%b\r\n" % word.upper()
            writer.write(b"0\r\n\r\n")
            assert await reader.readexactly(5) == b"0\r\n\r\n"

    run(scene())


@pytest.mark.parametrize("size", [100_000, 20_000_000])
def test_large_bodies_pass_both_ways_unchanged(bench: Any, run: Any, size: int, by_hand: Any) -> None:
    async def scene() -> None:
        sent = bytes(range(256)) * (size // 256)

        async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            _, body = await by_hand.read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body))
            writer.write(body)
            await writer.drain()

        async with bench() as b:
            reader, writer = await b.dial()
            writer.write(b"POST /f HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n" % len(sent))
            writer.write(sent)
            await b.owner.changed.wait()
            # What was read before an instance was there is bounded; the rest waits in the client's socket.
            await b.add(mirror)
            status, _, body = await by_hand.read_answer(reader)
            assert status == 200
            assert body == sent

    run(scene())


@pytest.mark.parametrize("percents", [(10, 90), (1, 99), (33, 33, 34), (50, 25, 25)], ids=str)
def test_shares_hold_within_chance(bench: Any, run: Any, percents: tuple[int, ...]) -> None:
    async def scene() -> None:
        async with bench() as a, bench() as b, bench() as c:
            gates = [each.gate for each in (a, b, c)][: len(percents)]
            route = Route(list(zip(percents, gates, strict=True)))
            random.seed(20)
            count = 20_000
            chosen = [route.choose() for _ in range(count)]
            for percent, gate in zip(percents, gates, strict=True):
                share = percent / 100
                deviation = math.sqrt(count * share * (1 - share))
                assert abs(chosen.count(gate) - count * share) < 4 * deviation

    run(scene())
