"""Messages through the router, byte for byte: what passes, in which form, and what is refused."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest

from mlfn_local.upstream import Target

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
GET = b"GET /f/x HTTP/1.1\r\nhost: h\r\n\r\n"


@pytest.mark.parametrize("framing", ["length", "chunks", "empty", "none"])
@pytest.mark.parametrize("piece", [1, 7, 10_000])
def test_the_body_of_a_request_that_offers_another_protocol_is_no_request(
    bench: Any, run: Any, framing: str, piece: int, by_hand: Any
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
            head, body = await by_hand.read_request(reader)
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
            assert [(await by_hand.read_answer(reader))[0] for _ in range(2)] == [200, 200]
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


def test_a_tunnel_is_refused(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            reader = await b.send(b"CONNECT f:80 HTTP/1.1\r\nhost: f:80\r\n\r\n" + GET)
            assert (await by_hand.read_answer(reader))[0] == 400
            assert await reader.read() == b""

    run(scene())


def test_an_http_1_0_request_without_a_host_gets_one(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        seen: list[bytes] = []
        async with bench() as b:
            await b.add(by_hand.recording(seen))
            status, _, _ = await by_hand.read_answer(await b.send(b"GET /f/x HTTP/1.0\r\n\r\n"))
        assert status == 200
        assert seen[0].startswith(b"GET /x HTTP/1.1\r\nhost: 127.0.0.1\r\n")

    run(scene())


def test_pipelined_requests_are_answered_in_their_order(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async def name_path(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head, _ = await by_hand.read_request(reader)
                path = head.split()[1]
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(path), path))

        async with bench() as b:
            await b.add(name_path)
            requests = [b"GET /f/%d HTTP/1.1\r\nhost: h\r\n\r\n" % i for i in range(500)]
            requests[7] = b"GET /none/7 HTTP/1.1\r\nhost: h\r\n\r\n"
            reader = await b.send(b"".join(requests))
            for i in range(500):
                status, _, body = await by_hand.read_answer(reader)
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
def test_what_could_be_read_two_ways_is_refused(bench: Any, run: Any, raw: bytes, by_hand: Any) -> None:
    async def scene() -> None:
        seen: list[bytes] = []
        async with bench() as b:
            await b.add(by_hand.recording(seen))
            reader = await b.send(raw)
            status, _, _ = await by_hand.read_answer(reader)
            assert status == 400
        assert seen == []

    run(scene())


@pytest.mark.parametrize("then", [b"not a chunk\r\n", b""], ids=["garbage", "end"])
def test_a_body_that_breaks_off_after_its_answer_just_ends_the_connection(
    bench: Any, run: Any, then: bytes, by_hand: Any
) -> None:
    async def scene() -> None:
        async with bench() as b:
            reader, writer = await b.dial()
            writer.write(b"POST /none HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
            assert (await by_hand.read_answer(reader))[0] == 404
            writer.write(then)
            writer.write_eof()
            assert await reader.read() == b""
            assert not b.router.connections

    run(scene())


def test_a_broken_request_behind_a_good_one_is_refused_after_it(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            reader = await b.send(GET + b"POST /f HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
            await b.owner.changed.wait()
            await b.add(by_hand.always_ok)
            assert (await by_hand.read_answer(reader))[0] == 200
            assert (await by_hand.read_answer(reader))[0] == 400
            assert await reader.read() == b""

    run(scene())


def test_a_head_without_end_is_refused(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            reader = await b.send(b"GET /f HTTP/1.1\r\nhost: h\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n")
            status, _, _ = await by_hand.read_answer(reader)
            assert status == 431
            assert await reader.read() == b""

    run(scene())


def test_head_answers_and_empty_answers_have_no_body(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head, _ = await by_hand.read_request(reader)
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


def test_an_old_client_gets_no_chunks_and_a_closed_connection(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            await b.add(by_hand.once(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"))
            reader = await b.send(b"GET /f HTTP/1.0\r\n\r\n")
            head, body = (await reader.read()).split(b"\r\n\r\n")
            assert b"transfer-encoding" not in head
            assert b"connection: close" in head
            assert body == b"ok"

    run(scene())


def test_an_answer_that_ends_with_its_connection_is_passed_on_whole(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            await b.add(by_hand.once(b"HTTP/1.1 200 OK\r\n\r\nall of it"))
            reader = await b.send(GET)
            assert (await by_hand.read_answer(reader))[2] == b"all of it"

    run(scene())


def test_expect_continue_is_answered_when_an_instance_takes_the_request(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        seen: list[bytes] = []
        async with bench() as b:
            reader, writer = await b.dial()
            writer.write(b"POST /f HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n")
            await b.owner.changed.wait()
            await b.add(by_hand.recording(seen))
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"hi")
            assert (await by_hand.read_answer(reader))[0] == 200
        assert seen[0].endswith(b"\r\n\r\nhi")
        assert b"expect" not in seen[0].lower()

    run(scene())


def test_an_offered_upgrade_is_passed_over(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        seen: list[bytes] = []
        async with bench() as b:
            await b.add(by_hand.recording(seen))
            offer = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
            reader = await b.send(b"GET /f/a HTTP/1.1\r\nhost: h\r\n" + offer + b"\r\n" + GET)
            assert (await by_hand.read_answer(reader))[0] == 200
            assert (await by_hand.read_answer(reader))[0] == 200
        assert b"upgrade" not in seen[0].lower()

    run(scene())


def test_a_client_that_has_finished_sending_gets_its_answers(bench: Any, run: Any, by_hand: Any) -> None:
    async def scene() -> None:
        async with bench() as b:
            reader, writer = await b.dial()
            writer.write(GET + GET)
            writer.write_eof()
            await b.owner.changed.wait()
            await b.add(by_hand.always_ok)
            assert (await by_hand.read_answer(reader))[0] == 200
            assert (await by_hand.read_answer(reader))[0] == 200
            assert await reader.read() == b""

    run(scene())
