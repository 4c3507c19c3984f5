"""The door on a real socket: framing, limits, order, ends."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

INFER = "/v2/models/double/infer"
ROW = json.dumps({"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.0]}]}).encode()
DOUBLED = [3.0, 4.0]


def head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode()


def post(body: bytes = ROW, *headers: str) -> bytes:
    return head(f"POST {INFER} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers) + body


def data_of(answer: Any) -> list[float]:
    assert answer.status == 200, answer.body
    return list(answer.json["outputs"][0]["data"])


def test_answers_on_one_connection_one_after_the_other(double: Any) -> None:
    client = double.connect()
    for _ in range(3):
        assert data_of(client.ask(post())) == DOUBLED


def test_a_known_head_with_another_body_of_its_length_is_read_anew(double: Any) -> None:
    client = double.connect()
    assert data_of(client.ask(post())) == DOUBLED
    assert data_of(client.ask(post(ROW.replace(b"1.5", b"4.5")))) == [9.0, 4.0]


def test_a_known_head_arriving_in_pieces_or_with_a_second_request_behind_it(double: Any) -> None:
    client = double.connect()
    client.ask(post())
    whole = post()
    cut = len(whole) - 10
    client.send(whole[:cut])
    client.send(whole[cut:] + whole)
    assert data_of(client.read()) == DOUBLED
    assert data_of(client.read()) == DOUBLED
    assert data_of(client.ask(whole + whole)) == DOUBLED
    assert data_of(client.read()) == DOUBLED


def test_chunked_bodies(double: Any) -> None:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (ROW[:20], ROW[20:])) + b"0\r\n\r\n"
    client = double.connect()
    for _ in range(2):
        answer = client.ask(head(f"POST {INFER} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + chunks)
        assert data_of(answer) == DOUBLED


CHUNKED = head(f"POST {INFER} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n" % (len(ROW), ROW)


def test_trailers_are_read_and_mean_nothing(double: Any) -> None:
    client = double.connect()
    for _ in range(2):
        answer = client.ask(CHUNKED + b"0\r\nX-Request-Id: late\r\nInference-Header-Content-Length: 3\r\n\r\n")
        assert data_of(answer) == DOUBLED
        assert answer.headers["x-request-id"] != "late"


def test_pipelined_answers_come_in_order(double: Any) -> None:
    client = double.connect()
    bodies = [ROW.replace(b"1.5", b"%d.5" % number) for number in range(200)]
    client.send(b"".join(post(body) for body in bodies) + head("GET /v2/health/live HTTP/1.1", "Host: x"))
    for number in range(200):
        assert data_of(client.read()) == [2 * number + 1.0, 4.0]
    assert client.read().json == {"live": True}


def test_expect_100_continue_is_answered_before_the_body(double: Any) -> None:
    client = double.connect()
    client.send(head(f"POST {INFER} HTTP/1.1", "Host: x", f"Content-Length: {len(ROW)}", "Expect: 100-continue"))
    assert client.read().status == 100
    assert data_of(client.ask(ROW)) == DOUBLED


def test_an_unknown_expectation_is_417(double: Any) -> None:
    answer = double.connect().ask(head(f"POST {INFER} HTTP/1.1", "Host: x", "Content-Length: 5", "Expect: cake"))
    assert (answer.status, answer.headers["connection"]) == (417, "close")


def test_a_client_that_closes_its_sending_side_gets_its_answer(double: Any) -> None:
    client = double.connect()
    client.send(post())
    client.socket.shutdown(socket.SHUT_WR)
    assert data_of(client.read()) == DOUBLED
    assert client.at_end()


def test_a_client_that_closes_in_the_middle_of_a_request_is_forgotten(double: Any) -> None:
    client = double.connect()
    client.send(post()[:-5])
    client.socket.shutdown(socket.SHUT_WR)
    assert client.at_end()


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(("Host: x", "Content-Length: 5", "Content-Length: 6"), id="two lengths"),
        pytest.param(("Host: x", "Content-Length: 5", "Transfer-Encoding: chunked"), id="length and chunked"),
        pytest.param(("Host: x", "Content-Length: -5"), id="negative length"),
        pytest.param(("Host: x", "Content-Length: 5x"), id="length with letters"),
        pytest.param(("Host: x", "Transfer-Encoding: gzip"), id="unknown coding"),
        pytest.param(("Host: x", "Transfer-Encoding: chunked, identity"), id="chunked not last"),
        pytest.param(("Content-Length: 5",), id="no host"),
        pytest.param(("Host: x", "Host: y", "Content-Length: 5"), id="two hosts"),
        pytest.param(("Host: x", "Content-Length : 5"), id="blank before colon"),
        pytest.param(("Host: x", "X: a\n b"), id="folded header"),
    ],
)
def test_doubtful_framing_is_refused_and_the_connection_closed(double: Any, lines: tuple[str, ...]) -> None:
    client = double.connect()
    answer = client.ask(head(f"POST {INFER} HTTP/1.1", *lines) + b"12345")
    assert (answer.status, answer.headers["connection"]) == (400, "close")
    assert "expected" in answer.json["error"]
    assert client.at_end()


def test_garbage_is_refused_behind_the_answers_that_are_due(double: Any) -> None:
    client = double.connect()
    client.send(post() + b"\x16\x03\x01 no http\r\n\r\n")
    assert data_of(client.read()) == DOUBLED
    assert client.read().status == 400
    assert client.at_end()


def test_http_10_closes_unless_asked_to_stay(double: Any) -> None:
    client = double.connect()
    length = f"Content-Length: {len(ROW)}"
    stays = client.ask(head(f"POST {INFER} HTTP/1.0", length, "Connection: keep-alive") + ROW)
    assert (data_of(stays), stays.headers["connection"]) == (DOUBLED, "keep-alive")
    assert data_of(client.ask(head(f"POST {INFER} HTTP/1.0", length) + ROW)) == DOUBLED
    assert client.at_end()


def test_connection_close_is_kept(double: Any) -> None:
    client = double.connect()
    answer = client.ask(post(ROW, "Connection: close"))
    assert (data_of(answer), answer.headers["connection"]) == (DOUBLED, "close")
    assert client.at_end()


def test_an_offer_of_another_protocol_is_not_taken_up(double: Any) -> None:
    client = double.connect()
    upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    assert data_of(client.ask(post(ROW, *upgrade))) == DOUBLED
    assert data_of(client.ask(post())) == DOUBLED


def test_an_offer_of_another_protocol_keeps_the_wish_to_close(double: Any) -> None:
    client = double.connect()
    assert data_of(client.ask(post(ROW, "Connection: Upgrade, close", "Upgrade: h2c"))) == DOUBLED
    assert client.at_end()


def test_head_has_no_body_and_the_length_of_get(double: Any) -> None:
    client = double.connect()
    get = client.ask(head("GET /v2/health/live HTTP/1.1", "Host: x"))
    client.send(head("HEAD /v2/health/live HTTP/1.1", "Host: x"))
    answer = client.read(head=True)
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(get.body)))
    assert client.ask(head("GET /v2/health/live HTTP/1.1", "Host: x")).json == {"live": True}


def test_methods_and_paths_that_are_not_offered(double: Any) -> None:
    client = double.connect()
    wrong_method = client.ask(head(f"GET {INFER} HTTP/1.1", "Host: x"))
    assert (wrong_method.status, wrong_method.headers["allow"]) == (405, "OPTIONS, POST")
    options = client.ask(head(f"OPTIONS {INFER} HTTP/1.1", "Host: x"))
    assert (options.status, options.headers["allow"], options.body) == (200, "OPTIONS, POST", b"")
    other_model = client.ask(head("GET /v2/models/other HTTP/1.1", "Host: x"))
    assert other_model.status == 404
    assert '"double"' in other_model.json["error"]


@pytest.mark.parametrize("target", ["/v2%2Fhealth%2flive", "http://example.org/v2/health/live", "/v2/health/live?x=1"])
def test_targets_in_other_forms(double: Any, target: str) -> None:
    assert double.get(target).json == {"live": True}


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Content-Type: application/json; charset=utf-8", 200),
        ("Content-Type: application/vnd.x+json", 200),
        ("Content-Type: text/xml", 415),
        ("Content-Encoding: gzip", 415),
    ],
)
def test_kinds_of_body(double: Any, header: str, status: int) -> None:
    assert double.connect().ask(post(ROW, header)).status == status


def test_ids_are_given_back_and_logged(double: Any) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    named = double.connect().ask(post(ROW, "X-Request-Id: abc-1", f"traceparent: 00-{trace}-00f067aa0ba902b7-01"))
    made = double.connect().ask(post(ROW, 'X-Request-Id: a"b', "traceparent: 00-zz-00f067aa0ba902b7-01"))
    assert named.headers["x-request-id"] == "abc-1"
    assert made.headers["x-request-id"] not in ("", 'a"b')
    double.settle()
    lines = {line.get("request_id"): line for line in double.log_lines()}
    assert lines["abc-1"]["trace_id"] == trace
    other = lines[made.headers["x-request-id"]]
    assert len(other["trace_id"]) == 32
    assert (other["status"], other["method"], other["path"], other["rows"]) == (200, "POST", INFER, 1)
    assert {"time", "level", "ms", "bytes_in", "bytes_out", "model", "run_rows"} <= other.keys()


@pytest.fixture(scope="module")
def strict(models: Path, tmp_path_factory: pytest.TempPathFactory, house: ModuleType) -> Any:
    bounds = {"max_body_bytes": 2000, "max_head_bytes": 4096, "max_connections": 40}
    times = {"head_timeout_s": 0.3, "body_timeout_s": 0.3, "idle_timeout_s": 0.6}
    log = tmp_path_factory.mktemp("strict") / "log"
    with house.serving(str(models / "double.onnx"), log, **bounds, **times) as server:
        yield server


def test_a_body_too_large_is_413_by_its_length_or_by_its_chunks(strict: Any) -> None:
    announced = strict.connect()
    answer = announced.ask(head(f"POST {INFER} HTTP/1.1", "Host: x", "Content-Length: 2001"))
    assert answer.status == 413
    assert announced.at_end()
    chunked = strict.connect()
    chunk = b"3e8\r\n" + b" " * 1000 + b"\r\n"
    chunked.send(head(f"POST {INFER} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + chunk * 3)
    assert chunked.read().status == 413
    exact = ROW + b" " * (2000 - len(ROW))
    assert data_of(strict.connect().ask(post(exact))) == DOUBLED


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(head("GET / HTTP/1.1", "Host: x", "X: " + "a" * 5000), 431, id="one long header"),
        pytest.param(head("GET / HTTP/1.1", "Host: x", *(f"X{n}: a" for n in range(101))), 431, id="many headers"),
        pytest.param(b"GET / HTTP/1.1\r\nX: " + b"a" * 5000, 431, id="a header without end"),
        pytest.param(b"GET /" + b"a" * 5000, 414, id="a target without end"),
    ],
)
def test_heads_too_large(strict: Any, sent: bytes, status: int) -> None:
    client = strict.connect()
    assert client.ask(sent).status == status
    assert client.at_end()


@pytest.mark.parametrize(
    "endless",
    [
        pytest.param(b"0\r\nX: " + b"a" * (1 << 20), id="one trailer"),
        pytest.param(b"0\r\n" + b"X: a\r\n" * (1 << 18), id="many trailers"),
        pytest.param(b"1;" + b"a" * (1 << 20), id="a chunk extension"),
    ],
)
def test_framing_without_end_is_431(strict: Any, endless: bytes) -> None:
    client = strict.connect()
    with contextlib.suppress(OSError):  # what comes behind the refusal is read for a while only
        client.send(CHUNKED + endless)
    assert client.read().status == 431


@pytest.mark.parametrize("sent", [pytest.param(b"POST / HT", id="head"), pytest.param(post()[:-3], id="body")])
def test_slow_requests_are_408(strict: Any, sent: bytes) -> None:
    client = strict.connect()
    assert client.ask(sent).status == 408
    assert client.at_end()


def test_an_idle_connection_is_closed_without_a_word(strict: Any) -> None:
    assert strict.connect().at_end()


def test_connections_beyond_the_limit_are_503(strict: Any) -> None:
    clients = [strict.connect() for _ in range(41)]
    answer = clients[-1].read()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert data_of(clients[0].ask(post())) == DOUBLED


def test_answers_that_nobody_reads_stop_the_reading(double: Any) -> None:
    """A client that only sends is not read any further once its answers wait; it gets them when it reads."""
    client = double.connect()
    client.socket.settimeout(1.0)
    sent = 0
    requests = head("GET /metrics HTTP/1.1", "Host: x") * 1000
    with contextlib.suppress(TimeoutError):
        while sent < 500:  # 20 MB of requests would be 2 GB of answers
            client.send(requests)
            sent += 1
    assert sent < 500, "everything was read although no answer was taken"
    client.socket.settimeout(20.0)
    assert all(client.read().status == 200 for _ in range(1000))


def test_sigterm_finishes_what_is_in_flight_and_exits_with_0(models: Path, tmp_path: Path, house: ModuleType) -> None:
    with house.serving(str(models / "double.onnx"), tmp_path / "log") as server:
        idle, half = server.connect(), server.connect()
        assert data_of(idle.ask(post())) == DOUBLED
        half.send(post()[:-5])
        assert data_of(idle.ask(post())) == DOUBLED  # by now the half request was read, too
        server.process.send_signal(signal.SIGTERM)
        assert idle.at_end()
        half.send(post()[-5:])
        answer = half.read()
        assert (data_of(answer), answer.headers["connection"]) == (DOUBLED, "close")
        assert server.process.wait(10) == 0
        assert server.log_lines()[-1] | {"time": ""} == {
            "time": "",
            "level": "info",
            "event": "stopped",
            "finished": True,
        }


def test_sigterm_answers_requests_that_come_while_it_is_noticed(
    models: Path, tmp_path: Path, house: ModuleType
) -> None:
    """Each client sends its next request as soon as it has an answer; none may go without one."""
    with house.serving(str(models / "double.onnx"), tmp_path / "log") as server:
        clients = [server.connect() for _ in range(20)]
        for _ in range(20):
            assert [data_of(client.ask(post())) for client in clients] == [DOUBLED] * 20
        server.process.send_signal(signal.SIGTERM)
        open_clients = clients
        while open_clients:
            for client in open_clients:
                client.send(post())
            answers = [client.read() for client in open_clients]
            assert [data_of(answer) for answer in answers] == [DOUBLED] * len(answers)
            pairs = zip(open_clients, answers, strict=True)
            open_clients = [client for client, answer in pairs if answer.headers.get("connection") != "close"]
        assert server.process.wait(10) == 0


def test_while_it_leaves_it_takes_all_requests_and_ends_each_connection_with_its_answer(
    models: Path, tmp_path: Path, house: ModuleType
) -> None:
    """As on a node whose proxy does not know yet that this instance ends; a second signal cuts it short."""
    with house.serving(str(models / "double.onnx"), tmp_path / "log", leave_s=60.0) as server:
        kept = server.connect()
        assert data_of(kept.ask(post())) == DOUBLED
        server.process.send_signal(signal.SIGTERM)
        while (answer := kept.ask(post())).headers.get("connection") != "close":
            assert data_of(answer) == DOUBLED
        assert data_of(answer) == DOUBLED
        assert kept.at_end()
        for client in (server.connect(), server.connect()):
            answer = client.ask(post())
            assert (data_of(answer), answer.headers["connection"]) == (DOUBLED, "close")
        assert server.get("/v2/health/ready").status == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        events = [line["event"] for line in server.log_lines() if "event" in line]
        assert events[-3:] == ["leaving", "draining", "stopped"]


def test_sigterm_answers_connections_that_are_not_accepted_yet(models: Path, tmp_path: Path, house: ModuleType) -> None:
    with house.serving(str(models / "double.onnx"), tmp_path / "log") as server:
        server.process.send_signal(signal.SIGSTOP)
        clients = [server.connect() for _ in range(20)]
        for client in clients:
            client.send(post())
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGCONT)
        assert [data_of(client.read()) for client in clients] == [DOUBLED] * 20
        assert server.process.wait(10) == 0
