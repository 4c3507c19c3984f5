"""What goes over the wire as text: challenges, scopes, proxies, waits, refusals, descriptors."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfn.errors import BuildFailed, InvalidInput, MlfnError, NotAuthorised, NotFound, Unreachable
from mlfn.images.challenges import Challenge, merge_scopes, parse_challenges, repository_scope
from mlfn.images.contents import BlobSource, Descriptor, ImageContent, ImagePlatform, digest_of
from mlfn.images.proxies import is_loopback, proxy_for
from mlfn.images.refusals import Asking, refusal
from mlfn.images.retries import retry_after_s
from mlfn.images.wire import Reply, origin_of


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Basic realm="r"'], (Challenge("basic", "r"),)),
        (["Basic"], (Challenge("basic"),)),
        (
            ['Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"'],
            (Challenge("bearer", "https://a/t", "s", "repository:a/b:pull,push"),),
        ),
        (['BEARER Realm = "a", service=s'], (Challenge("bearer", "a", "s"),)),
        (['Negotiate, Basic realm="a \\"b\\""'], (Challenge("negotiate"), Challenge("basic", 'a "b"'))),
        (['Bearer realm="x"', 'Basic realm="y"'], (Challenge("bearer", "x"), Challenge("basic", "y"))),
        (['Bearer realm="x",error="insufficient_scope"'], (Challenge("bearer", "x", error="insufficient_scope"),)),
        ([""], ()),
        ([], ()),
    ],
)
def test_challenges_are_read(headers: list[str], expected: tuple[Challenge, ...]) -> None:
    assert parse_challenges(headers) == expected


@given(st.text(max_size=60))
def test_any_header_is_read(header: str) -> None:
    for challenge in parse_challenges([header]):
        assert challenge.scheme == challenge.scheme.lower() != ""


def test_scopes_are_put_together() -> None:
    assert repository_scope("a/b", "pull", "push") == "repository:a/b:pull,push"
    scopes = ("repository:b:pull", "repository:a:push", "repository:a:pull", "nonsense", "registry:catalog:*")
    assert merge_scopes(scopes) == ("registry:catalog:*", "repository:a:pull,push", "repository:b:pull")
    assert merge_scopes(()) == ()


@pytest.mark.parametrize(
    ("url", "no_proxy", "direct"),
    [
        ("https://example.com/x", "", False),
        ("https://example.com/x", "example.com", True),
        ("https://sub.example.com/x", "example.com", True),
        ("https://sub.example.com/x", ".example.com", True),
        ("https://example.com/x", ".example.com", False),
        ("https://sub.example.com/x", "*.example.com", True),
        ("https://badexample.com/x", "example.com", False),
        ("https://example.com/x", "other.com, EXAMPLE.com", True),
        ("https://example.com:5000/x", "example.com:5000", True),
        ("https://example.com:5001/x", "example.com:5000", False),
        ("https://example.com/x", "example.com:443", True),
        ("https://10.1.2.3/x", "10.0.0.0/8", True),
        ("https://11.1.2.3/x", "10.0.0.0/8", False),
        ("https://10.1.2.3:5000/x", "10.1.2.3", True),
        ("https://[fd00::1]/x", "fd00::/8", True),
        ("https://anything/x", "*", True),
        ("https://localhost:5000/x", "", True),
        ("https://127.0.0.9:5000/x", "", True),
        ("https://[::1]:5000/x", "", True),
    ],
)
def test_which_addresses_go_through_the_proxy(url: str, no_proxy: str, direct: bool) -> None:
    environ = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": no_proxy}
    assert proxy_for(url, environ) == (None if direct else "http://proxy:3128")


def test_which_proxy_is_taken() -> None:
    assert proxy_for("http://a.com", {"HTTPS_PROXY": "http://p:1"}) is None
    assert proxy_for("http://a.com", {"http_proxy": "p:1"}) == "http://p:1"
    assert proxy_for("https://a.com", {"ALL_PROXY": "https://p:1"}) == "https://p:1"
    assert proxy_for("https://a.com", {"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}) == "http://low:1"
    assert proxy_for("https://a.com", {}) is None
    assert [is_loopback(host) for host in ("LOCALHOST.", "127.9.9.9", "[::1]", "10.0.0.1", "localhost.com")] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_waits_that_a_server_asks_for() -> None:
    assert retry_after_s("17") == 17
    assert 8 < retry_after_s(formatdate(time.time() + 10, usegmt=True)) <= 10
    for value in ("", "soon", "-3", "1.5", formatdate(0)):
        assert retry_after_s(value) == 0


@pytest.mark.parametrize(
    ("status", "code", "kind", "text"),
    [
        (401, "UNAUTHORIZED", NotAuthorised, "refuses to let you push to a (asked as user 'u' of f): HTTP 401, UNAUTH"),
        (403, "DENIED", NotAuthorised, "refuses to let you push to a"),
        (404, "NAME_UNKNOWN", NotFound, "cannot push to a: HTTP 404, NAME_UNKNOWN a message"),
        (400, "DIGEST_INVALID", BuildFailed, "have another digest than announced"),
        (400, "MANIFEST_BLOB_UNKNOWN", BuildFailed, "misses a part of the image"),
        (400, "TAG_INVALID", InvalidInput, "TAG_INVALID a message"),
        (413, "", InvalidInput, "larger than the registry, or a proxy before it, accepts"),
        (429, "TOOMANYREQUESTS", Unreachable, "too many requests"),
        (500, "UNKNOWN", Unreachable, "cannot push to a: HTTP 500"),
        (507, "", Unreachable, "the registry's disk is full"),
    ],
)
def test_a_refusal_becomes_the_error_of_its_kind(status: int, code: str, kind: type[MlfnError], text: str) -> None:
    body = json.dumps({"errors": [{"code": code, "message": "a message", "detail": None}]}).encode() if code else b"<h>"
    error = refusal(Reply(status, {}, body), Asking("example.com", "push to a", "asked as user 'u' of f"))
    assert type(error) is kind
    assert text in error.message
    assert "example.com" in error.message


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"errors": 3}', b'{"errors": [3]}', b"\xff", b"null"])
def test_an_answer_in_no_format_still_makes_an_error(body: bytes) -> None:
    assert "HTTP 500" in refusal(Reply(500, {}, body), Asking("example.com", "push to a")).message


def test_a_long_answer_is_cut_and_an_address_loses_what_may_be_secret() -> None:
    body = json.dumps({"errors": [{"code": "X", "message": "long " * 1000}]}).encode()
    assert len(refusal(Reply(400, {}, body), Asking("example.com", "push")).message) < 400
    assert origin_of("https://me:secret@a.com:5000/path?signature=secret") == "https://a.com:5000"


def test_a_descriptor_is_written_and_read_back() -> None:
    full = Descriptor("t", digest_of(b"x"), 1, {"b": "2", "a": "1"}, ImagePlatform("arm64", variant="v8"), "kind")
    for descriptor in (full, Descriptor("t", digest_of(b"x"), 1)):
        assert Descriptor.from_json(json.loads(json.dumps(descriptor.as_json()))) == descriptor
    assert list(full.as_json()["annotations"]) == ["a", "b"]


def test_sources_of_blobs(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    from_file, from_bytes = BlobSource.of_file(path, "t"), BlobSource.of_bytes(b"content", "t")
    assert from_file.descriptor == from_bytes.descriptor == Descriptor("t", digest_of(b"content"), 7)
    for source in (from_file, from_bytes, from_file):
        with source.open() as stream:
            assert stream.read() == b"content"
    assert BlobSource.of_file(path, "t", "sha256:known").descriptor.digest == "sha256:known"


def test_an_index_lists_its_children_and_their_blobs_once() -> None:
    shared, own = BlobSource.of_bytes(b"shared", "t"), BlobSource.of_bytes(b"own", "t")
    amd64 = ImageContent(b"{}", "m", (shared, own), platform=ImagePlatform("amd64"))
    arm64 = ImageContent(b"{ }", "m", (shared,), platform=ImagePlatform("arm64"))
    index = ImageContent.index((amd64, arm64), {"b": "2", "a": "1"})
    assert [source.descriptor.digest for source in index.all_blobs()] == [digest_of(b"shared"), digest_of(b"own")]
    document = json.loads(index.manifest)
    assert [Descriptor.from_json(each) for each in document["manifests"]] == [amd64.descriptor, arm64.descriptor]
    assert list(document["annotations"]) == ["a", "b"]
    assert index.digest == digest_of(index.manifest)
