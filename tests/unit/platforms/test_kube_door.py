"""The door to a cluster, against a real HTTP server that keeps the API's protocol, and breaks it when asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlfn.errors import Conflict, InvalidInput, NotAuthorised, NotFound, Unreachable
from mlfn.platforms.kube.door import Cluster, LogQuery, Selection, Sight, connect
from mlfn.platforms.kube.kinds import CONFIG_MAP, KNATIVE_SERVICE, POD, Object


def config_map(name: str = "a", **metadata: str) -> Object:
    """Return an object to apply."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"x": "1"}}


def names(sight: Sight) -> dict[str, str]:
    """Return what is seen: name and data."""
    return {each["metadata"]["name"]: each["data"]["x"] for each in sight.objects}


def test_what_is_not_there_is_none_and_an_unknown_kind_is_an_error(door: Cluster) -> None:
    assert door.get(CONFIG_MAP, "nope") is None
    assert door.config_map("ns", "nope") is None
    with pytest.raises(NotFound):
        door.get(KNATIVE_SERVICE, "nope")


def test_objects_of_a_list_carry_their_kind_and_are_sorted(door: Cluster, api: Any) -> None:
    for name in ("b", "a"):
        api.put(name, {"x": name})
    found = door.list(CONFIG_MAP)
    assert [(each["kind"], each["metadata"]["name"]) for each in found] == [("ConfigMap", "a"), ("ConfigMap", "b")]


def test_apply_is_server_side_with_mlfn_as_the_manager_of_its_fields(door: Cluster, api: Any) -> None:
    door.apply(config_map())
    door.apply(config_map(), force=True, dry_run=True)
    plain, forced = (each for each in api.requests if each[0] == "PATCH")
    assert plain[1].endswith("/configmaps/a")
    assert plain[2:4] == ({"fieldManager": ["mlfn"]}, "application/apply-patch+yaml")
    assert forced[2] == {"fieldManager": ["mlfn"], "force": ["true"], "dryRun": ["All"]}


def test_a_version_that_is_not_the_current_one_is_a_conflict(door: Cluster) -> None:
    stored = door.apply(config_map())
    with pytest.raises(Conflict):
        door.apply(config_map(resourceVersion="1"))
    assert door.apply(config_map(resourceVersion=stored["metadata"]["resourceVersion"]))


def test_deleting_tells_whether_there_was_anything(door: Cluster) -> None:
    door.apply(config_map())
    assert door.delete(CONFIG_MAP, "a")
    assert not door.delete(CONFIG_MAP, "a")


def test_lines_of_a_log(door: Cluster, api: Any) -> None:
    api.log = ["one", "two ½", "three"]
    assert list(door.logs(LogQuery("pod", "function", tail=3))) == api.log
    assert api.requests[-1][2] == {"container": ["function"], "tailLines": ["3"]}


def test_a_watch_shows_what_is_there_and_then_every_change(door: Cluster, api: Any) -> None:
    api.put("a", {"x": "1"})
    sights = door.watch(Selection(CONFIG_MAP), timeout_s=20)
    assert names(next(sights)) == {"a": "1"}
    api.put("b", {"x": "2"})
    wait_for(sights, {"a": "1", "b": "2"})
    api.remove("a")
    wait_for(sights, {"b": "2"})
    sights.close()  # type: ignore[attr-defined]  # a generator


def test_a_watch_goes_on_where_it_broke_off(door: Cluster, api: Any) -> None:
    api.put("a", {"x": "1"})
    sights = door.watch(Selection(CONFIG_MAP), timeout_s=20)
    next(sights)
    api.until(watches=1)
    api.cut()
    api.put("a", {"x": "2"})
    wait_for(sights, {"a": "2"})
    assert api.lists == 1


def test_a_watch_lists_again_when_the_past_is_gone(door: Cluster, api: Any) -> None:
    api.put("a", {"x": "1"})
    sights = door.watch(Selection(CONFIG_MAP), timeout_s=20)
    next(sights)
    api.until(watches=1)
    api.forget()
    api.until(watches=2)
    api.put("a", {"x": "2"})
    wait_for(sights, {"a": "2"})
    assert api.lists == 2


def test_a_watch_does_without_what_may_not_be_seen_and_says_so(door: Cluster, api: Any) -> None:
    api.forbidden.add("pods")
    api.put("a", {"x": "1"})
    sight = next(iter(door.watch(Selection(CONFIG_MAP), Selection(POD, needed=False), timeout_s=20)))
    assert (names(sight), sight.denied) == ({"a": "1"}, ("pods",))
    with pytest.raises(NotAuthorised):
        next(iter(door.watch(Selection(CONFIG_MAP), Selection(POD), timeout_s=20)))


def test_a_watch_ends_with_its_time_and_leaves_no_reader(door: Cluster, api: Any) -> None:
    before = threading.active_count()
    sights = list(door.watch(Selection(CONFIG_MAP), timeout_s=0.5))
    assert sights
    assert sights[-1].after_s < 5
    for thread in threading.enumerate():
        if thread.name.startswith("watch "):
            thread.join(20)
    assert threading.active_count() <= before + 2  # the server's own, for the connections that it keeps


def test_a_server_that_is_not_there_is_named_with_the_context(write_kubeconfig: Callable[..., Path]) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        file = write_kubeconfig(f"http://127.0.0.1:{closed.getsockname()[1]}", "prod")
        with pytest.raises(Unreachable, match=r"http://127.0.0.1:\d+ .*prod.*refused"):
            connect({"cluster.kubeconfig": str(file)}).version()


def test_a_server_that_does_not_speak_tls_is_told_as_such(api: Any, write_kubeconfig: Callable[..., Path]) -> None:
    file = write_kubeconfig(f"https://127.0.0.1:{api.port}")
    with pytest.raises(Unreachable, match="SSL"):
        connect({"cluster.kubeconfig": str(file)}).version()


def test_an_unknown_context_lists_those_that_are_known(write_kubeconfig: Callable[..., Path]) -> None:
    file = write_kubeconfig("http://127.0.0.1:1", "prod", "stage")
    with pytest.raises(InvalidInput) as refused:
        connect({"cluster.kubeconfig": str(file), "cluster.context": "prd"}).version()
    assert "'prd'" in refused.value.message
    assert refused.value.hints == ("did you mean 'prod'?", "its contexts: prod, stage")


@pytest.mark.parametrize(
    "text", [None, "", "just: [text", "[]", "{}"], ids=["absent", "empty", "torn", "list", "blank"]
)
def test_a_file_that_is_no_kubeconfig_is_bad_input(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "config"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidInput, match=str(file)):
        connect({"cluster.kubeconfig": str(file)}).version()


def test_the_namespace_is_the_given_one_else_the_contexts(door: Cluster, write_kubeconfig: Callable[..., Path]) -> None:
    assert door.namespace == "ns"
    file = str(write_kubeconfig("http://127.0.0.1:1"))
    assert connect({"cluster.kubeconfig": file, "cluster.namespace": "other"}).namespace == "other"


def test_kubeconfig_files_come_from_the_environment(
    api: Any, write_kubeconfig: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_kubeconfig(f"http://127.0.0.1:{api.port}")
    monkeypatch.setenv("KUBECONFIG", f"/nowhere:{file}")
    assert connect({}).version() == "v1.34.4"


def logging_in(file: Path, script: str) -> dict[str, str]:
    """Let a kubeconfig's user log in by a command."""
    value = json.loads(file.read_text())
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", script]}
    value["users"][0]["user"] = {"exec": {**plugin, "interactiveMode": "Never"}}
    file.write_text(json.dumps(value))
    return {"cluster.kubeconfig": str(file)}


def test_a_login_command_gives_the_token(api: Any, write_kubeconfig: Callable[..., Path]) -> None:
    given = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "fresh"}}
    settings = logging_in(write_kubeconfig(f"http://127.0.0.1:{api.port}"), f"echo '{json.dumps(given)}'")
    assert connect(settings).version() == "v1.34.4"
    assert api.authorisations[-1] == "Bearer fresh"


def test_a_login_command_that_fails_is_told_and_nobody_is_asked(
    api: Any, write_kubeconfig: Callable[..., Path]
) -> None:
    settings = logging_in(write_kubeconfig(f"http://127.0.0.1:{api.port}"), "echo 'log in first' >&2; exit 1")
    with pytest.raises(NotAuthorised, match=r"the login .* context here fails: .*log in first"):
        connect(settings).version()
    assert api.requests == []


def test_no_error_carries_the_token(door: Cluster, api: Any) -> None:
    api.forbidden.add("pods")
    with pytest.raises(NotAuthorised) as refused:
        door.list(POD)
    error = refused.value
    assert "planted-token" not in f"{error.message} {error.hints} {error.details}"


def wait_for(sights: Any, wanted: dict[str, str]) -> None:
    """Read on until the wanted state is seen; the watch's own time bounds it."""
    for sight in sights:
        if names(sight) == wanted:
            return
    pytest.fail(f"never seen: {wanted}")
