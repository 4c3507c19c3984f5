"""Names of images, read as every container tool reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfn.errors import InvalidInput
from mlfn.function import ImageRef
from mlfn.images.references import check_tag, parse_destination, parse_reference

DIGEST = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("python", ImageRef("docker.io", "library/python", "latest", "")),
        ("python:3.11-slim", ImageRef("docker.io", "library/python", "3.11-slim", "")),
        ("team/iris", ImageRef("docker.io", "team/iris", "latest", "")),
        ("docker.io/python:3", ImageRef("docker.io", "library/python", "3", "")),
        ("index.docker.io/team/iris", ImageRef("docker.io", "team/iris", "latest", "")),
        ("registry.example.com/a/b/c:v1", ImageRef("registry.example.com", "a/b/c", "v1", "")),
        ("Registry.Example.com/a", ImageRef("registry.example.com", "a", "latest", "")),
        ("localhost/a", ImageRef("localhost", "a", "latest", "")),
        ("localhost:5000/a:b", ImageRef("localhost:5000", "a", "b", "")),
        ("[::1]:5000/a", ImageRef("[::1]:5000", "a", "latest", "")),
        ("10.0.0.1:5000/a__b.c-d", ImageRef("10.0.0.1:5000", "a__b.c-d", "latest", "")),
        (f"example.com/a@{DIGEST}", ImageRef("example.com", "a", "", DIGEST)),
        (f"example.com/a:v1@{DIGEST}", ImageRef("example.com", "a", "v1", DIGEST)),
    ],
)
def test_a_name_is_read(text: str, expected: ImageRef) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("", "repository ''"),
        ("example.com/Team/iris", "repository 'Team/iris'"),
        ("example.com/a:", "tag ''"),
        ("example.com/a:-x", "tag '-x'"),
        (f"example.com/a:{'x' * 129}", "tag"),
        ("example.com/a@sha256:12", "digest 'sha256:12'"),
        ("example.com/a@", "digest ''"),
        ("https://example.com/a", "host 'https:'"),
        ("example.com/a//b", "repository 'a//b'"),
        ("example.com/../b", "repository '../b'"),
        ("exa_mple.com/a", "host 'exa_mple.com'"),
        (f"example.com/{'a' * 250}", "262 characters"),
    ],
)
def test_what_is_no_name_is_refused_with_the_part_that_is_wrong(text: str, seen: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_reference(text)
    assert seen in caught.value.message
    assert "expected" in caught.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.example.com", ("registry.example.com", "iris")),
        ("registry.example.com/", ("registry.example.com", "iris")),
        ("registry.example.com/team/models", ("registry.example.com", "team/models/iris")),
        ("localhost:5000", ("localhost:5000", "iris")),
        ("localhost", ("localhost", "iris")),
        ("docker.io/me", ("docker.io", "me/iris")),
        ("me/models", ("docker.io", "me/models/iris")),
    ],
)
def test_a_destination_is_a_registry_with_or_without_a_path(text: str, expected: tuple[str, str]) -> None:
    ref = parse_destination(text, "iris")
    assert (ref.registry, ref.repository) == expected


@pytest.mark.parametrize("text", ["", "me", "https://example.com", "example.com/Team", "exa mple.com/a"])
def test_what_is_no_destination_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        parse_destination(text, "iris")


def test_a_tag_in_a_destination_is_refused_with_the_destination_that_works() -> None:
    for text in ("registry.example.com/team:v1", "localhost:5000/team/models:latest", "me/models:v1"):
        with pytest.raises(InvalidInput, match="cannot be chosen") as told:
            parse_destination(text, "iris")
        works = told.value.hints[0].split()[1]
        assert parse_destination(works, "iris").name.endswith(f"{works}/iris")


@given(
    host=st.from_regex(r"[a-z]{1,8}\.[a-z]{2,5}(:[1-9][0-9]{0,3})?", fullmatch=True),
    path=st.lists(st.from_regex(r"[a-z0-9]{1,6}([._-][a-z0-9]{1,4})?", fullmatch=True), min_size=1, max_size=4),
    tag=st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True),
)
def test_a_written_name_is_read_back(host: str, path: list[str], tag: str) -> None:
    ref = ImageRef(host, "/".join(path), tag, DIGEST)
    if ref.registry.endswith("docker.io"):
        return
    assert parse_reference(ref.tagged) == ImageRef(ref.registry, ref.repository, tag, "")
    assert parse_reference(ref.pinned) == ImageRef(ref.registry, ref.repository, "", DIGEST)
    assert parse_reference(f"{ref.tagged}@{DIGEST}") == ref
    check_tag(tag)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        ref = parse_reference(text)
    except InvalidInput:
        return
    assert parse_reference(ref.tagged) == ImageRef(ref.registry, ref.repository, ref.tag or "latest", "")


@pytest.mark.parametrize(
    "text", ["me:hunter2correct@example.com:5000/team", "https://me:hunter2correct@example.com/x/y"]
)
def test_a_login_in_a_name_is_refused_and_not_quoted(text: str) -> None:
    for read in (parse_reference, lambda name: parse_destination(name, "iris")):
        with pytest.raises(InvalidInput, match="a login does not work here") as told:
            read(text)
        assert "hunter2correct" not in f"{told.value} {told.value.hints}"
        assert told.value.hints[0].startswith("docker login example.com")
