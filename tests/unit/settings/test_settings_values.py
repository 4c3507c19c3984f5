"""Every kind of value: what is read, what is refused, and that what is shown reads back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlfn.settings.values import (
    BadValue,
    architectures,
    cores,
    corrected_name,
    duration,
    env_variables,
    flag,
    function_name,
    number,
    object_name,
    size,
    url,
    whole,
    without_login,
)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("0", 0),
        ("1073741824", 2**30),
        ("512Mi", 2**29),
        ("512MiB", 2**29),
        ("1G", 10**9),
        ("1.5Gi", 3 * 2**29),
        ("200k", 200_000),
        (" 1 Gi ", 2**30),
    ],
)
def test_sizes_are_read(raw: str, value: int) -> None:
    assert size().read(raw) == value


@pytest.mark.parametrize(
    ("raw", "corrected"),
    [("512mb", "512M"), ("1gib", "1Gi"), ("x", ""), ("-1", ""), ("1 Q", ""), ("9" * 400, ""), ("9000000000T", "")],
)
def test_a_size_that_is_none_is_refused_with_the_unit_that_was_meant(raw: str, corrected: str) -> None:
    with pytest.raises(BadValue, match="512Mi or 1G") as caught:
        size().read(raw)
    assert caught.value.corrected == corrected


def test_a_size_below_the_least_is_refused_but_zero_stands_for_none() -> None:
    kind = size(2**24, or_none=True)
    with pytest.raises(BadValue):
        size(2**24).read("0")
    assert kind.read("0") == 0
    assert kind.read("16Mi") == 2**24
    with pytest.raises(BadValue, match="at least 16Mi"):
        kind.read("16M")


@pytest.mark.parametrize(
    ("raw", "corrected"),
    [("x86_64", "amd64"), ("aarch64,amd64", "amd64,arm64"), ("amd64,", "amd64"), ("sparc", ""), ("sparc,x86_64", "")],
)
def test_what_is_offered_for_a_processor_is_one_that_is_taken(raw: str, corrected: str) -> None:
    with pytest.raises(BadValue, match="amd64, arm64 or amd64,arm64") as caught:
        architectures().read(raw)
    assert caught.value.corrected == corrected


def test_whole_numbers_end_where_they_are_stored_no_more() -> None:
    assert whole(0).read(str(2**62)) == 2**62
    with pytest.raises(BadValue, match="at least 0"):
        whole(0).read(str(2**63))


@pytest.mark.parametrize("raw", ["1.0005", "-1", "2k", "9" * 400, "9" * 400 + "m"])
def test_cores_that_are_none_are_refused(raw: str) -> None:
    with pytest.raises(BadValue, match="cores such as 500m"):
        cores().read(raw)


@given(st.integers(min_value=0, max_value=2**50))
def test_a_size_shown_reads_back(value: int) -> None:
    assert size().read(size().show(value)) == value


@pytest.mark.parametrize(
    ("raw", "seconds"), [("60", 60), ("60s", 60), ("2m", 120), ("0.5h", 1800), ("1h", 3600), ("6s", 6), ("6000ms", 6)]
)
def test_durations_in_whole_seconds_are_read(raw: str, seconds: int) -> None:
    assert duration(6, 3600, seconds_only=True).read(raw) == seconds


@pytest.mark.parametrize("raw", ["5s", "3601s", "6.5s", "6500ms", "-6s", "1d", "", "s", "nan", "6 0s"])
def test_durations_out_of_range_are_refused(raw: str) -> None:
    with pytest.raises(BadValue, match="whole seconds, 6s to 1h"):
        duration(6, 3600, seconds_only=True).read(raw)


@given(st.integers(min_value=1, max_value=3_600_000))
def test_a_duration_shown_reads_back(milliseconds: int) -> None:
    kind = duration(0.001, 3600)
    assert kind.read(kind.show(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, rel=1e-5)


@pytest.mark.parametrize("raw", ["-1", "1001", "1.5", "many", ""])
def test_whole_numbers_keep_their_range(raw: str) -> None:
    with pytest.raises(BadValue, match="a whole number from 0 to 1000"):
        whole(0, 1000).read(raw)
    assert [whole(0, 1000).read(each) for each in ("0", "1000")] == [0, 1000]


@pytest.mark.parametrize("raw", ["0.009", "nan", "inf", "x", "1e99"])
def test_numbers_keep_their_range(raw: str) -> None:
    with pytest.raises(BadValue, match=r"at least 0\.01"):
        number(0.01, 1e6, "a number, at least 0.01").read(raw)


def test_flags_take_the_usual_words() -> None:
    assert [flag().read(raw) for raw in ("true", "YES", "on", "1")] == [True] * 4
    assert [flag().read(raw) for raw in ("false", "No", "off", "0")] == [False] * 4
    with pytest.raises(BadValue, match="true or false"):
        flag().read("maybe")


@pytest.mark.parametrize("raw", ["a", "iris", "a-1", "a" * 63])
def test_function_names_are_dns_labels(raw: str) -> None:
    assert function_name().read(raw) == raw


@pytest.mark.parametrize(
    ("raw", "corrected"),
    [
        ("My_Model", "my-model"),
        ("iris!", "iris"),
        ("-iris-", "iris"),
        ("2nd", "model-2nd"),
        ("", "model"),
        ("ÄÖ Größe", "ao-groe"),
        ("a" * 70, "a" * 63),
        ("日本", "model"),
        ("a.b.c", "a-b-c"),
    ],
)
def test_a_bad_function_name_is_refused_with_the_corrected_one(raw: str, corrected: str) -> None:
    with pytest.raises(BadValue) as caught:
        function_name().read(raw)
    assert caught.value.corrected == corrected


@given(st.text(max_size=100))
def test_every_corrected_name_is_a_function_name(raw: str) -> None:
    corrected = corrected_name(raw)
    assert function_name().read(corrected) == corrected


def test_environment_variables_are_split_as_a_shell_does() -> None:
    assert env_variables().read("A=1 'B=two words' C=") == {"A": "1", "B": "two words", "C": ""}


@pytest.mark.parametrize("raw", ["A", "=1", "1A=2", "A-B=1", "'A=1"])
def test_environment_variables_want_a_name(raw: str) -> None:
    with pytest.raises(BadValue):
        env_variables().read(raw)


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True), st.text(max_size=20)))
def test_environment_variables_shown_read_back(variables: dict[str, str]) -> None:
    assert env_variables().read(env_variables().show(variables)) == variables


def test_names_of_a_clusters_objects_are_those_that_it_takes() -> None:
    assert [object_name().read(name) for name in ("default", "7-up", "pull.team-a")] == [
        "default",
        "7-up",
        "pull.team-a",
    ]
    for wrong in ("", "A_B", "team/pull", "-a", "a-", "a..b", "a" * 254):
        with pytest.raises(BadValue, match="lower-case letters"):
            object_name().read(wrong)
    namespace = object_name("NAMESPACE", "a namespace", longest=63, dots=False)
    assert namespace.read("a" * 63) == "a" * 63
    for wrong in ("a.b", "a" * 64):
        with pytest.raises(BadValue, match="at most 63"):
            namespace.read(wrong)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:hunter2@host/simple", "https://****@host/simple"),
        ("https://token@host/simple", "https://****@host/simple"),
        ("https://me:p@ss@host/simple", "https://****@host/simple"),
        ("me:hunter2@host:5000/team", "****@host:5000/team"),
        ("https://host/simple", "https://host/simple"),
        (f"host:5000/base@sha256:{'0' * 64}", f"host:5000/base@sha256:{'0' * 64}"),
        ("oci:/srv/base:3.13", "oci:/srv/base:3.13"),
    ],
)
def test_a_login_is_covered(text: str, shown: str) -> None:
    assert without_login(text) == shown


@pytest.mark.parametrize("text", ["ftp://host/x", "nonsense", "https://", "host/simple"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="expected an address"):
        url("an address", "https", "http").read(text)
