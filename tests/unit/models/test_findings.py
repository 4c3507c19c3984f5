"""Every finding of the table, on a model made to have it; and nothing found on models that are fine."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from mlfn.function import Finding, ModelPackage, Severity
from mlfn.models import FINDINGS, check_loads, example_body, inspection_json, open_model
from mlfn.models.onnx_operators import FLOOR_IR, FLOOR_OPSETS
from mlfn.models.onnx_support import load_error, newest_ir, newest_opset

Build = Callable[..., Path]
FLOAT = TensorProto.FLOAT


def tensor(name: str, axes: Sequence[int | str | None] | None, element: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, axes)


def external(name: str, axes: Sequence[int], location: str, **entries: object) -> TensorProto:
    """Make a FLOAT tensor whose data lies in another file."""
    made = TensorProto(name=name, dims=list(axes), data_type=FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in ({"location": location} | entries).items():
        made.external_data.add(key=key, value=str(value))
    return made


def with_weights(build: Build, location: str, **entries: object) -> Path:
    """Build y = x + w with w elsewhere."""
    return build(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        initializer=[external("w", [2], location, **({"offset": 0, "length": 8} | entries))],
    )


def the(package: ModelPackage, what: str) -> Finding:
    """Return the only finding of a code; it says everything that a finding should."""
    (found,) = [each for each in package.findings if each.what == what]
    assert found.severity is FINDINGS[what].severity
    assert all((found.message, found.seen, found.expected, found.fix))
    return found


def test_a_model_that_is_fine_has_no_findings(build: Build) -> None:
    package = open_model(build())
    assert package.findings == ()
    assert check_loads(package) == ()


# -- shapes and types -------------------------------------------------------------------------------------------------


def test_fixed_batch(build: Build) -> None:
    package = open_model(build(inputs=[tensor("x", [3, 2])], outputs=[tensor("y", [3, 2])]))
    assert '"x" [3,2]' in the(package, "fixed-batch").seen
    assert package.signature.batch_axis is None
    assert package.errors == ()


def test_scalars_and_states_are_no_fixed_batch(build: Build) -> None:
    add = [helper.make_node("Add", ["x", "s"], ["y"])]
    package = open_model(build(add, inputs=[tensor("x", ["batch", 2]), tensor("s", [])]))
    assert package.findings == ()
    assert package.signature.inputs[1].shape == ()


def test_unnamed_batch(build: Build) -> None:
    package = open_model(build(inputs=[tensor("x", ["in", 2])], outputs=[tensor("y", ["out", 2])]))
    assert the(package, "unnamed-batch").seen == "'in', 'out'"


def test_zipmap_output(fetched_model: Callable[[str], Path]) -> None:
    package = open_model(fetched_model("logreg-iris"))
    assert "seq(map(int64,tensor(float)))" in the(package, "zipmap-output").seen
    spec = package.signature.outputs[1]
    assert (spec.datatype, spec.shape, spec.keys) == ("FP32", (-1, 3), (0, 1, 2))


def test_zipmap_with_words_for_keys(build: Build) -> None:
    nodes = [helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_strings=["no", "yes"])]
    value = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(FLOAT, []))
    maps = helper.make_value_info("y", helper.make_sequence_type_proto(value))
    package = open_model(build(nodes, outputs=[maps], opsets={"": 17, "ai.onnx.ml": 1}))
    assert package.signature.outputs[0].keys == ("no", "yes")


def test_sequence_output(build: Build) -> None:
    sequence = helper.make_tensor_sequence_value_info("y", FLOAT, None)
    package = open_model(build([helper.make_node("SequenceConstruct", ["x"], ["y"])], outputs=[sequence]))
    assert the(package, "sequence-output").seen == "seq(tensor(float))"
    assert package.errors == ()


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (helper.make_tensor_sequence_value_info("x", FLOAT, None), "seq(tensor(float))"),
        (tensor("x", ["batch", 2], TensorProto.BFLOAT16), "tensor(bfloat16)"),
        (tensor("x", ["batch", 2], TensorProto.COMPLEX64), "tensor(complex64)"),
        (tensor("x", ["batch", 2], TensorProto.INT4), "tensor(int4)"),
        (
            helper.make_value_info("x", helper.make_optional_type_proto(helper.make_tensor_type_proto(FLOAT, [2]))),
            "optional(tensor(float))",
        ),
        (helper.make_sparse_tensor_value_info("x", FLOAT, [2]), "sparse_tensor(float)"),
    ],
    ids=["sequence", "bfloat16", "complex64", "int4", "optional", "sparse"],
)
def test_unsupported_type(build: Build, value: onnx.ValueInfoProto, seen: str) -> None:
    package = open_model(build(inputs=[value]))
    assert the(package, "unsupported-type").seen == seen
    assert package.errors


def test_unsupported_type_of_an_output(build: Build) -> None:
    package = open_model(build(outputs=[tensor("y", ["batch", 2], TensorProto.FLOAT8E5M2)]))
    assert the(package, "unsupported-type").seen == "tensor(float8e5m2)"


def test_unknown_rank(build: Build) -> None:
    assert '"x"' in the(open_model(build(inputs=[tensor("x", None)])), "unknown-rank").message


def test_too_large_for_openwhisk(build: Build) -> None:
    package = open_model(build(inputs=[tensor("x", ["n", 200_000])], outputs=[tensor("y", ["n", 200_000])]))
    assert "2.2 MB" in the(package, "output-too-large").message
    assert "2.2 MB" in the(package, "input-too-large").message
    assert package.errors == ()
    assert {each.severity for each in package.findings} == {Severity.INFO}


# -- weights elsewhere ------------------------------------------------------------------------------------------------


def test_external_data_is_part_of_the_model(build: Build, tmp_path: Path) -> None:
    path = with_weights(build, "sub/w.bin")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/w.bin").write_bytes(bytes(8))
    package = open_model(path)
    assert package.findings == ()
    assert package.files == ("made.onnx", "sub/w.bin")
    assert package.size_bytes == path.stat().st_size + 8
    assert check_loads(package) == ()


def test_the_digest_of_several_files_is_that_of_their_sha256sum_listing(build: Build, tmp_path: Path) -> None:
    import hashlib

    path = with_weights(build, "w.bin")
    (tmp_path / "w.bin").write_bytes(bytes(8))
    listing = "".join(
        f"{hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}  {name}\n" for name in ("made.onnx", "w.bin")
    )
    before = open_model(path).digest
    assert before == "sha256:" + hashlib.sha256(listing.encode()).hexdigest()
    (tmp_path / "w.bin").write_bytes(bytes(7) + b"\1")
    assert open_model(path).digest != before


def test_missing_external_data(build: Build) -> None:
    package = open_model(with_weights(build, "w.bin"))
    assert "w.bin" in the(package, "missing-external-data").message
    assert package.files == ("made.onnx",)


def test_every_missing_file_is_told(build: Build) -> None:
    nodes = [helper.make_node("Add", ["x", "a"], ["t"]), helper.make_node("Add", ["t", "b"], ["y"])]
    package = open_model(build(nodes, initializer=[external("a", [2], "a.bin"), external("b", [2], "b.bin")]))
    assert [each.what for each in package.findings] == ["missing-external-data"] * 2


def test_external_data_of_subgraphs_and_attributes(build: Build) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["z"])], "b", [], [tensor("z", [2])], [external("w", [2], "inner.bin")]
    )
    nodes = [
        helper.make_node("Constant", [], ["c"], value=external("c", [2], "constant.bin")),
        helper.make_node("If", ["on"], ["y"], then_branch=branch, else_branch=branch),
    ]
    package = open_model(build(nodes, inputs=[tensor("on", [], TensorProto.BOOL)], outputs=[tensor("y", [2])]))
    named = {each.seen + each.message for each in package.findings if each.what == "missing-external-data"}
    assert len(named) == 2
    assert any("inner.bin" in each for each in named)
    assert any("constant.bin" in each for each in named)


def test_short_external_data(build: Build, tmp_path: Path) -> None:
    path = with_weights(build, "w.bin", offset=4096)
    (tmp_path / "w.bin").write_bytes(bytes(4100))
    found = the(open_model(path), "short-external-data")
    assert (found.seen, found.expected) == ("4100 bytes", "at least 4104 bytes")


@pytest.mark.parametrize("location", ["../w.bin", "/etc/hostname", "sub/../../w.bin"])
def test_external_data_escapes(build: Build, tmp_path: Path, location: str) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(8))
    path = build(
        [helper.make_node("Add", ["x", "w"], ["y"])], initializer=[external("w", [2], location)], name="in/made.onnx"
    )
    package = open_model(path)
    assert the(package, "external-data-escapes").seen == location
    assert package.files == ("made.onnx",)


def test_external_data_escapes_by_a_link(build: Build, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(8))
    path = build(
        [helper.make_node("Add", ["x", "w"], ["y"])], initializer=[external("w", [2], "w.bin")], name="in/made.onnx"
    )
    (tmp_path / "in/w.bin").symlink_to(tmp_path / "secret")
    package = open_model(path)
    assert the(package, "external-data-escapes").seen == "w.bin"
    assert load_error(path) is not None


def test_links_into_one_folder_are_no_escape(build: Build, tmp_path: Path) -> None:
    """A Hugging Face cache links model and weights into a folder of blobs."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    with_weights(build, "w.bin").rename(blobs / "0123")
    (blobs / "4567").write_bytes(bytes(8))
    (snapshot / "model.onnx").symlink_to(blobs / "0123")
    (snapshot / "w.bin").symlink_to(blobs / "4567")
    package = open_model(snapshot / "model.onnx")
    assert package.findings == ()
    assert package.files == ("model.onnx", "w.bin")
    assert check_loads(package) == ()


def test_empty_external_data(build: Build) -> None:
    assert the(open_model(with_weights(build, "")), "empty-external-data").seen == "location ''"


# -- versions and operators -------------------------------------------------------------------------------------------


def test_the_floor_is_within_what_is_installed() -> None:
    for domain, floor in FLOOR_OPSETS.items():
        newest = newest_opset(domain)
        assert newest is not None
        assert newest >= floor
    assert (newest_ir() or 0) >= FLOOR_IR


def test_the_newest_opset_and_ir_version_are_fine(build: Build) -> None:
    newest = newest_opset("ai.onnx")
    package = open_model(build(opsets={"": newest}, ir_version=newest_ir()))
    assert package.findings == ()
    assert check_loads(package) == ()


def test_unsupported_opset_and_ir_version(build: Build) -> None:
    path = build(opsets={"": 999, "ai.onnx.ml": 998}, ir_version=997)
    package = open_model(path)
    assert sorted(each.seen for each in package.errors) == ["997", "998", "999"]
    assert the(package, "unsupported-ir-version").expected == f"at most {newest_ir()}"
    assert load_error(path) is not None


def test_opset_that_is_too_old(build: Build) -> None:
    softsign = [helper.make_node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"], consumed_inputs=[0, 0])]
    package = open_model(build(softsign, inputs=[tensor("x", ["n", 2]), tensor("s", [2])], opsets={"": 1}))
    assert the(package, "unsupported-opset").seen == "1"


def test_old_opset_that_runs_is_fine(build: Build) -> None:
    assert open_model(build(opsets={"": 6})).findings == ()


def test_custom_operator(build: Build) -> None:
    nodes = [
        helper.make_node("Fancy", ["x"], ["t"], domain="acme", name="here"),
        helper.make_node("Plain", ["t"], ["y"], domain="acme"),
    ]
    found = the(open_model(build(nodes, opsets={"": 17, "acme": 1})), "custom-operator")
    assert found.seen == "acme::Fancy, acme::Plain"
    assert '"here"' in found.message


def test_operators_of_onnxruntime_extensions_have_their_own_fix(build: Build) -> None:
    nodes = [helper.make_node("BertTokenizer", ["x"], ["y"], domain="ai.onnx.contrib")]
    found = the(open_model(build(nodes, opsets={"": 17, "ai.onnx.contrib": 1})), "custom-operator")
    assert "onnxruntime-extensions" in found.fix


def test_custom_operator_and_missing_weights_are_told_together(build: Build) -> None:
    nodes = [helper.make_node("Fancy", ["x", "w"], ["y"], domain="acme")]
    package = open_model(build(nodes, opsets={"": 17, "acme": 1}, initializer=[external("w", [2], "w.bin")]))
    assert {each.what for each in package.errors} == {"custom-operator", "missing-external-data"}


def test_an_operator_that_the_file_defines_is_fine(tmp_path: Path) -> None:
    twice = helper.make_function(
        "acme", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph(
        [helper.make_node("Twice", ["x"], ["y"], domain="acme")], "g", [tensor("x", ["n", 2])], [tensor("y", ["n", 2])]
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("acme", 1)]
    path = tmp_path / "twice.onnx"
    onnx.save(helper.make_model(graph, opset_imports=imports, functions=[twice], ir_version=8), path)
    package = open_model(path)
    assert package.findings == ()
    assert check_loads(package) == ()


def test_unsupported_operator(build: Build) -> None:
    package = open_model(build([helper.make_node("Gelu", ["x"], ["y"])], opsets={"": 17}))
    found = the(package, "unsupported-operator")
    assert found.seen == "Gelu"
    assert "Gelu (since opset 20)" in found.expected


def test_an_operator_that_onnx_dropped_and_onnx_runtime_kept_is_fine(build: Build) -> None:
    nodes = [helper.make_node("SimplifiedLayerNormalization", ["x", "s"], ["y"], axis=-1)]
    package = open_model(build(nodes, inputs=[tensor("x", ["batch", 2]), tensor("s", [2])], opsets={"": 16}))
    assert package.errors == ()


def test_does_not_load(build: Build) -> None:
    nodes = [helper.make_node("MatMul", ["x", "x"], ["y"])]
    package = open_model(build(nodes, inputs=[tensor("x", [2, 3])], outputs=[tensor("y", [2, 3])]))
    assert package.errors == ()
    (found,) = check_loads(package)
    assert found.what == "does-not-load"


def test_an_example_has_a_length_that_the_model_takes(build: Build) -> None:
    """The 300th of a free axis is asked for: the signature does not say so, the model does."""
    index = helper.make_tensor("index", TensorProto.INT64, [1], [300])
    nodes = [
        helper.make_node("Constant", [], ["index"], value=index),
        helper.make_node("Gather", ["x", "index"], ["y"], axis=1),
    ]
    package = open_model(build(nodes, inputs=[tensor("x", ["batch", "n"])], outputs=[tensor("y", ["batch", 1])]))
    body: Any = example_body(package)
    rows, length = body["inputs"][0]["shape"]
    assert rows == 1
    assert length > 300


def test_an_example_of_a_model_that_does_not_load_has_any_length(build: Build) -> None:
    nodes = [helper.make_node("Add", ["x", "nothing"], ["y"])]
    package = open_model(build(nodes, inputs=[tensor("x", ["batch", "n"])], outputs=[tensor("y", ["batch", "n"])]))
    body: Any = example_body(package)
    assert body["inputs"][0]["shape"][0] == 1


# -- the table --------------------------------------------------------------------------------------------------------


def test_every_code_is_tested_here(repository: Path) -> None:
    tested = set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', Path(__file__).read_text()))
    assert set(FINDINGS) <= tested


def test_errors_come_first(build: Build) -> None:
    path = build(inputs=[tensor("x", [1, 2])], outputs=[tensor("y", [1, 2])], opsets={"": 999})
    assert [each.severity for each in open_model(path).findings] == [Severity.ERROR, Severity.WARNING]


def test_inspection_json(build: Build) -> None:
    package = open_model(build(inputs=[tensor("x", [1, 2])], outputs=[tensor("y", ["n", 2])]))
    document = inspection_json(package)
    assert list(document) == [
        "schema",
        "format",
        "digest",
        "size_bytes",
        "opsets",
        "inputs",
        "outputs",
        "batch_axis",
        "findings",
    ]
    assert document["schema"] == "mlfn.signature/v1"
    assert document["opsets"] == {"ai.onnx": 17}
    assert document["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [1, 2]}]
    assert document["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]
    assert document["batch_axis"] is None
    assert document["findings"] == [each.as_json() for each in package.findings]
