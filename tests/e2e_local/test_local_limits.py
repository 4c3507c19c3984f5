"""Memory limits, by cgroup and by watching, and what is told of them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from mlfn.errors import DeployFailed
from mlfn_local.memory import MemoryGroup

MIB = 2**20


def cgroups_can_be_made() -> bool:
    group = MemoryGroup.create(f"mlfn-test-{os.getpid()}", 64 * MIB)
    return group is not None and group.remove()


needs_cgroup = pytest.mark.skipif(not cgroups_can_be_made(), reason="no memory cgroup can be made here")


@pytest.fixture(params=[pytest.param("cgroup", marks=needs_cgroup), "watch"])
def limited(request: pytest.FixtureRequest, world: Any, in_process: Callable[..., Any]) -> Any:
    if request.param == "watch":
        in_process(cgroups=False)
    return world


@pytest.fixture(scope="module")
def greedy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model that takes as much memory as the request says: it fills a tensor of that many rows."""
    path = tmp_path_factory.mktemp("greedy") / "greedy.onnx"
    nodes = [
        helper.make_node("Cast", ["X"], ["whole"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["whole"], ["rows"], keepdims=0),
        helper.make_node("Unsqueeze", ["rows", "axis"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["filled"]),
        helper.make_node("Add", ["filled", "one"], ["more"]),
        helper.make_node("ReduceSum", ["more"], ["sum"], keepdims=0),
        helper.make_node("Add", ["X", "sum"], ["Y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "greedy",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 1])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [
            helper.make_tensor("axis", TensorProto.INT64, [1], [0]),
            helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def rows(count: float) -> bytes:
    return b'{"inputs":[{"name":"X","shape":[1,1],"datatype":"FP32","data":[%d]}]}' % count


def test_a_model_that_needs_more_than_its_limit_is_not_deployed(limited: Any) -> None:
    with pytest.raises(DeployFailed) as failure:
        limited.deploy("hungry", limited.models / "hungry.onnx", memory_bytes=128 * MIB)
    assert "out of memory" in failure.value.message
    assert "limit of 128 MiB" in failure.value.message
    assert "seen" in failure.value.message
    assert any("--memory" in hint for hint in failure.value.hints)


def test_within_its_limit_a_model_serves(limited: Any) -> None:
    limited.deploy(memory_bytes=128 * MIB)
    assert limited.ask().status == 200


def test_a_request_that_takes_too_much_is_answered_and_the_instance_replaced(limited: Any, greedy: Path) -> None:
    limited.deploy("greedy", greedy, memory_bytes=200 * MIB)
    assert limited.ask("greedy", rows(1000)).status == 200
    answer = limited.ask("greedy", rows(400 * MIB))
    assert answer.status == 502
    assert limited.ask("greedy", rows(1000)).status == 200
    assert any("out of memory" in error for error in limited.platform.status("greedy").last_errors)


def test_a_service_without_a_warm_parent_spawns(world: Any, in_process: Callable[..., Any]) -> None:
    in_process(fork=False)
    world.deploy()
    assert world.ask().status == 200
    (pid,) = world.instance_pids()
    assert b"mlfn_local.instance" in Path(f"/proc/{pid}/cmdline").read_bytes()
    world.kill_instance(pid)
    assert world.ask().status == 200


def test_the_service_in_this_process_ends_with_its_test(in_process: Callable[..., Any]) -> None:
    running = in_process()
    assert isinstance(running.loop, asyncio.AbstractEventLoop)
    assert running.thread is not threading.current_thread()
