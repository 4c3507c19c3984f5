"""The router as clients and instances meet it, byte for byte."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from mlfn_local.upstream import Target

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET /f/x HTTP/1.1\r\nhost: h\r\n\r\n"


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes], bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status_line, *lines = head[:-4].split(b"\r\n")
    headers = {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines)}
    status = int(status_line.split()[1])
    if headers.get(b"transfer-encoding") == b"chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
        return status, headers, body
    length = headers.get(b"content-length")
    return status, headers, await (reader.read() if length is None else reader.readexactly(int(length)))


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return head, await reader.readexactly(int(line.split(b":")[1]))
    return head, b""


async def always_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await read_request(reader)
        writer.write(OK)


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def recording(seen: list[bytes]) -> Callable[..., Any]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            seen.append(head + body)
            writer.write(OK)

    return handle


def test_a_request_arrives_without_its_prefix_and_is_answered_with_who_did_it(bench: Any, run: Any) -> None:
    async def scene() -> None:
        seen: list[bytes] = []
        async with bench() as b:
            await b.add(recording(seen))
            status, headers, body = await read_answer(
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
def test_path_and_host_name_the_function(bench: Any, run: Any, target: bytes, host: bytes, path: bytes) -> None:
    async def scene() -> None:
        seen: list[bytes] = []
        async with bench() as b:
            await b.add(recording(seen))
            status, _, _ = await read_answer(await b.send(b"GET %b HTTP/1.1\r\nhost: %b\r\n\r\n" % (target, host)))
        assert status == 200
        assert seen[0].split()[1] == path

    run(scene())


@pytest.mark.parametrize("framing", ["length", "chunks", "empty", "none"])
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_the_body_of_a_request_that_offers_another_protocol_is_no_request(
    bench: Any, run: Any, framing: str, piece: int
) -> None:
    smuggled = b"GET /g/smuggled HTTP/1.1\r\nhost: h\r\n\r\n"
    head, body = {
        "length": (b"content-length: %d\r\n" % len(smuggled), smuggled),
        "chunks": (b"transfer-encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(smuggled), smuggled)),
        "empty": (b"content-length: 0\r\n", b""),
        "none": (b"", b""),
    }[framing]
    offer = b"host: h\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n"
    request = b"POST /f/a HTTP/1.1\r\n%b%b\r\n%b" % (offer, head, body)

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            if b"chunked" in head:
                body = await reader.readuntil(b"0\r\n\r\n")
            seen.append(head + body)
            writer.write(OK)

    seen: list[bytes] = []

    async def scene() -> None:
        async with bench() as b:
            await b.add(collect)
            reader, writer = await b.dial()
            for start in range(0, len(request + GET), piece):
                writer.write((request + GET)[start : start + piece])
                await writer.drain()
            assert [(await read_answer(reader))[0] for _ in range(2)] == [200, 200]
        assert [each.split()[1] for each in seen] == [b"/a", b"/x"]
        assert (smuggled in b"".join(seen)) == (framing in ("length", "chunks"))
        assert b"upgrade" not in seen[0].lower()

    run(scene())


def test_an_instance_that_refuses_a_body_in_its_middle_is_heard(bench: Any, run: Any) -> None:
    async def scene() -> None:
        loop = asyncio.get_running_loop()
        async with bench() as b:
            with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
                for each in (listener, client):
                    each.setblocking(False)
                b.gate.add(Target("f-00001-a", "f-00001", listener.getsockname()[1]))
                await loop.sock_connect(client, ("127.0.0.1", b.router.port))
                await loop.sock_sendall(client, b"POST /f/x HTTP/1.1\r\nhost: h\r\ncontent-length: 900000\r\n\r\n")
                instance, _ = await loop.sock_accept(listener)
                with instance:
                    assert await loop.sock_recv(instance, 65536)
                    # All of this at once, before the router has its next turn: it meets the body first.
                    client.send(b"x" * 50_000)
                    instance.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
                    instance.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                assert (await loop.sock_recv(client, 65536)).startswith(b"HTTP/1.1 413 ")

    run(scene())


def test_a_tunnel_is_refused(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            reader = await b.send(b"CONNECT f:80 HTTP/1.1\r\nhost: f:80\r\n\r\n" + GET)
            assert (await read_answer(reader))[0] == 400
            assert await reader.read() == b""

    run(scene())


def test_an_http_1_0_request_without_a_host_gets_one(bench: Any, run: Any) -> None:
    async def scene() -> None:
        seen: list[bytes] = []
        async with bench() as b:
            await b.add(recording(seen))
            status, _, _ = await read_answer(await b.send(b"GET /f/x HTTP/1.0\r\n\r\n"))
        assert status == 200
        assert seen[0].startswith(b"GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\n")

    run(scene())


def test_an_unknown_function_is_answered_with_those_that_are_known(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            status, _, body = await read_answer(await b.send(b"GET /g/x HTTP/1.1\r\nhost: h\r\n\r\n"))
            assert status == 404
            assert "'g'" in json.loads(body)["error"]
            assert "functions: f" in json.loads(body)["error"]
            status, _, body = await read_answer(await b.send(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"))
            assert (status, json.loads(body)) == (200, {"functions": ["f"]})

    run(scene())


def test_requests_wait_for_the_first_instance_and_poke_at_once(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            readers = [await b.send(GET) for _ in range(20)]
            await b.owner.changed.wait()
            while b.gate.waiting < 20:
                await asyncio.wait_for(b.owner.changed.wait(), 5)
                b.owner.changed.clear()
            assert b.owner.pokes == 20
            assert b.meter.in_flight == 20
            await b.add(always_ok)
            answers = [await read_answer(reader) for reader in readers]
            assert {status for status, _, _ in answers} == {200}
            assert all(float(headers[b"mlfn-held-seconds"]) > 0 for _, headers, _ in answers)
            assert b.meter.in_flight == 0

    run(scene())


def test_at_most_so_many_run_at_an_instance_and_ten_times_as_many_wait(bench: Any, run: Any) -> None:
    async def scene() -> None:
        running, most = 0, 0
        full, go = asyncio.Event(), asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal running, most
            while True:
                await read_request(reader)
                running += 1
                most = max(most, running)
                full.set()
                await go.wait()
                running -= 1
                writer.write(OK)

        async with bench(concurrency=2) as b:
            await b.add(slow)
            answers = [asyncio.ensure_future(read_answer(await b.send(GET))) for _ in range(25)]
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
def test_large_bodies_pass_both_ways_unchanged(bench: Any, run: Any, size: int) -> None:
    async def scene() -> None:
        sent = bytes(range(256)) * (size // 256)

        async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            _, body = await read_request(reader)
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
            status, _, body = await read_answer(reader)
            assert status == 200
            assert body == sent

    run(scene())


def test_a_slow_client_slows_the_instance_down(bench: Any, run: Any) -> None:
    async def scene() -> None:
        written = 0
        blocked = asyncio.Event()

        async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal written
            await read_request(reader)
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


def test_a_request_that_was_not_read_goes_to_another_instance(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async def reset_unread(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            reset(writer)  # as the kernel does for a killed process that had not read its input

        async with bench(concurrency=1) as b:
            await b.add(reset_unread, "f-00001-a")
            await b.add(always_ok, "f-00001-b")
            reader = await b.send(b"POST /f HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx")
            status, headers, _ = await read_answer(reader)
            # First available is the instance that resets; at its second reset it is given up.
            assert (status, headers[b"mlfn-instance"]) == (200, b"f-00001-b")
            assert b.owner.unreachables == ["f-00001-a"]

    run(scene())


def test_a_request_that_meets_a_connection_closed_meanwhile_is_sent_again(bench: Any, run: Any) -> None:
    async def scene() -> None:
        seen: list[bytes] = []

        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append((await read_request(reader))[0])
            writer.write(OK)

        async with bench() as b:
            target = await b.add(once)
            for _ in range(20):
                assert (await read_answer(await b.send(GET)))[0] == 200
                # The instance has closed by now, or does so while the next request is on its way.
                assert len(target.idle) <= 1
        assert len(seen) == 20

    run(scene())


def test_an_instance_that_takes_no_connection_is_reported_and_another_one_taken(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async with bench(concurrency=1) as b:
            target = await b.add(always_ok, "f-00001-a")
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                target.port = unused.getsockname()[1]
                await b.add(always_ok, "f-00001-b")
                status, headers, _ = await read_answer(await b.send(GET))
            assert (status, headers[b"mlfn-instance"]) == (200, b"f-00001-b")
            assert b.owner.unreachables == ["f-00001-a"]
            assert b.gate.ready == 1

    run(scene())


def test_a_request_that_was_read_is_never_sent_twice(bench: Any, run: Any) -> None:
    async def scene() -> None:
        seen = 0

        async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal seen
            await read_request(reader)
            seen += 1

        async with bench() as b:
            await b.add(die)
            status, _, body = await read_answer(await b.send(GET))
        assert status == 502
        assert "f-00001-a" in json.loads(body)["error"]
        assert seen == 1

    run(scene())


def test_an_answer_that_breaks_off_is_seen_as_broken(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
            await writer.drain()

        async with bench() as b:
            await b.add(half)
            reader = await b.send(GET)
            await reader.readuntil(b"\r\n\r\n")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(10)

    run(scene())


@pytest.mark.parametrize("with_instance", [False, True], ids=["waiting", "running"])
def test_the_time_for_a_request_is_bounded_waiting_included(bench: Any, run: Any, with_instance: bool) -> None:
    async def scene() -> None:
        gone = asyncio.Event()

        async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            await reader.read()
            gone.set()

        async with bench(timeout_s=0.05) as b:
            if with_instance:
                await b.add(never)
            status, _, body = await read_answer(await b.send(GET))
            assert status == 504
            assert "0.05 s" in json.loads(body)["error"]
            assert b.gate.active == 0
            if with_instance:
                await gone.wait()  # the instance learns that nobody wants its answer

    run(scene())


def test_pipelined_requests_are_answered_in_their_order(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async def name_path(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head, _ = await read_request(reader)
                path = head.split()[1]
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(path), path))

        async with bench() as b:
            await b.add(name_path)
            requests = [b"GET /f/%d HTTP/1.1\r\nhost: h\r\n\r\n" % i for i in range(500)]
            requests[7] = b"GET /none/7 HTTP/1.1\r\nhost: h\r\n\r\n"
            reader = await b.send(b"".join(requests))
            for i in range(500):
                status, _, body = await read_answer(reader)
                assert (status, body) == (200, b"/%d" % i) if i != 7 else status == 404

    run(scene())


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /f HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /f HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"POST /f HTTP/1.1\r\nhost: h\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST /f HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /f HTTP/1.1\r\nhost: h\r\ncontent-length: +1\r\n\r\nx",
        b"POST /f HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"GET /f HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET /f HTTP/1.1\r\n\r\n",
        b"GET /f HTTP/1.1\r\nhost : h\r\n\r\n",
        b"GET /f HTTP/1.1\r\nhost: h\r\nx: a\x00b\r\n\r\n",
        b"GET f HTTP/1.1\r\nhost: h\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=str,
)
def test_what_could_be_read_two_ways_is_refused(bench: Any, run: Any, raw: bytes) -> None:
    async def scene() -> None:
        seen: list[bytes] = []
        async with bench() as b:
            await b.add(recording(seen))
            reader = await b.send(raw)
            status, _, _ = await read_answer(reader)
            assert status == 400
        assert seen == []

    run(scene())


@pytest.mark.parametrize("then", [b"not a chunk\r\n", b""], ids=["garbage", "end"])
def test_a_body_that_breaks_off_after_its_answer_just_ends_the_connection(bench: Any, run: Any, then: bytes) -> None:
    async def scene() -> None:
        async with bench() as b:
            reader, writer = await b.dial()
            writer.write(b"POST /none HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
            assert (await read_answer(reader))[0] == 404
            writer.write(then)
            writer.write_eof()
            assert await reader.read() == b""
            assert not b.router.connections

    run(scene())


def test_a_broken_request_behind_a_good_one_is_refused_after_it(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            reader = await b.send(GET + b"POST /f HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
            await b.owner.changed.wait()
            await b.add(always_ok)
            assert (await read_answer(reader))[0] == 200
            assert (await read_answer(reader))[0] == 400
            assert await reader.read() == b""

    run(scene())


def test_a_head_without_end_is_refused(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            reader = await b.send(b"GET /f HTTP/1.1\r\nhost: h\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n")
            status, _, _ = await read_answer(reader)
            assert status == 431
            assert await reader.read() == b""

    run(scene())


def test_head_answers_and_empty_answers_have_no_body(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head, _ = await read_request(reader)
                if head.startswith(b"HEAD"):
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
                else:
                    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

        async with bench() as b:
            await b.add(handle)
            reader = await b.send(
                b"HEAD /f HTTP/1.1\r\nhost: h\r\n\r\n" + GET + b"HEAD /none HTTP/1.1\r\nhost: h\r\n\r\n"
            )
            assert b"content-length: 5" in await reader.readuntil(b"\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 No Content\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 404 ")

    run(scene())


def test_an_old_client_gets_no_chunks_and_a_closed_connection(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async def chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
            await writer.drain()

        async with bench() as b:
            await b.add(chunked)
            reader = await b.send(b"GET /f HTTP/1.0\r\n\r\n")
            head, body = (await reader.read()).split(b"\r\n\r\n")
            assert b"transfer-encoding" not in head
            assert b"connection: close" in head
            assert body == b"ok"

    run(scene())


def test_an_answer_that_ends_with_its_connection_is_passed_on_whole(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async def until_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
            await writer.drain()

        async with bench() as b:
            await b.add(until_close)
            reader = await b.send(GET)
            assert (await read_answer(reader))[2] == b"all of it"

    run(scene())


def test_expect_continue_is_answered_when_an_instance_takes_the_request(bench: Any, run: Any) -> None:
    async def scene() -> None:
        seen: list[bytes] = []
        async with bench() as b:
            reader, writer = await b.dial()
            writer.write(b"POST /f HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
            await b.owner.changed.wait()
            await b.add(recording(seen))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hi")
            assert (await read_answer(reader))[0] == 200
        assert seen[0].endswith(b"\r\n\r\nhi")
        assert b"expect" not in seen[0].lower()

    run(scene())


def test_an_offered_upgrade_is_passed_over(bench: Any, run: Any) -> None:
    async def scene() -> None:
        seen: list[bytes] = []
        async with bench() as b:
            await b.add(recording(seen))
            offer = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
            reader = await b.send(b"GET /f/a HTTP/1.1\r\nhost: h\r\n" + offer + b"\r\n" + GET)
            assert (await read_answer(reader))[0] == 200
            assert (await read_answer(reader))[0] == 200
        assert b"upgrade" not in seen[0].lower()

    run(scene())


def test_a_client_that_has_finished_sending_gets_its_answers(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            reader, writer = await b.dial()
            writer.write(GET + GET)
            writer.write_eof()
            await b.owner.changed.wait()
            await b.add(always_ok)
            assert (await read_answer(reader))[0] == 200
            assert (await read_answer(reader))[0] == 200
            assert await reader.read() == b""

    run(scene())


def test_a_client_that_goes_away_gives_its_place_back(bench: Any, run: Any) -> None:
    async def scene() -> None:
        arrived, left = asyncio.Event(), asyncio.Event()

        async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            arrived.set()
            await reader.read()
            left.set()

        async with bench(concurrency=1) as b:
            await b.add(never)
            _, writer = await b.dial()
            writer.write(GET)
            await arrived.wait()
            reset(writer)
            await left.wait()
            assert b.gate.active == 0
            assert b.meter.in_flight == 0

    run(scene())


def test_a_draining_instance_finishes_and_gets_nothing_new(bench: Any, run: Any) -> None:
    async def scene() -> None:
        arrived, go = asyncio.Event(), asyncio.Event()

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            arrived.set()
            await go.wait()
            writer.write(OK)
            await writer.drain()

        async with bench() as b:
            await b.add(slow, "f-00001-a")
            first = await b.send(GET)
            await arrived.wait()
            assert not b.gate.drain("f-00001-a")
            await b.add(always_ok, "f-00001-b")
            for _ in range(5):
                _, headers, _ = await read_answer(await b.send(GET))
                assert headers[b"mlfn-instance"] == b"f-00001-b"
            assert b.owner.idles == []
            b.owner.changed.clear()
            go.set()
            assert (await read_answer(first))[0] == 200
            await b.owner.changed.wait()
            assert b.owner.idles == ["f-00001-a"]

    run(scene())


def test_who_waits_is_told_when_no_instance_can_be_had(bench: Any, run: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            reader = await b.send(GET)
            await b.owner.changed.wait()
            loop = asyncio.get_running_loop()
            b.gate.block("function f cannot start: no memory", loop.time() + 7)
            for answer in (reader, await b.send(GET)):
                status, headers, body = await read_answer(answer)
                assert status == 503
                assert 6 <= int(headers[b"retry-after"]) <= 7
                assert "no memory" in json.loads(body)["error"]
            await b.add(always_ok)
            assert (await read_answer(await b.send(GET)))[0] == 200

    run(scene())


def test_connections_to_instances_are_kept_and_used_again(bench: Any, run: Any) -> None:
    async def scene() -> None:
        connections = 0

        async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await always_ok(reader, writer)

        async with bench() as b:
            await b.add(count)
            reader, writer = await b.dial()
            for _ in range(50):
                writer.write(GET)
                assert (await read_answer(reader))[0] == 200
        assert connections == 1

    run(scene())
