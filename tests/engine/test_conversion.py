"""Graphs for LiteRT become graphs for a GPU: rewritten, compared, refused where they differ, and never mixed up."""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from detection.engine import pipeline as pipeline_module
from detection.engine.conversion import graphs
from detection.engine.conversion.__main__ import main
from detection.engine.conversion.comparison import greatest_difference, greatest_miss, recorded
from detection.engine.conversion.convert import CONVERSIONS, ConversionError, convert
from detection.engine.model import FACE_DETECTOR
from detection.engine.runtime import CPU, LITERT, load_model
from detection.engine.weights import WeightsError, converted_path, weights_path
from detection.engine.weights.converted import converted_file, note_converted

ROOT = Path(__file__).resolve().parents[2]
CONVERTER = Path(os.environ.get("CONVERTER_PYTHON") or ROOT / "var" / "convert" / "bin" / "python")
LIVENESS = "minifasnet-2.7"


def constant(name: str, values: object, kind: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, kind), name)


def model(nodes, inputs: dict, outputs: dict, constants) -> onnx.ModelProto:
    """Make a graph; inputs and outputs are float32 of the given shapes."""
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in each.items()]
        for each in (inputs, outputs)
    ]
    graph = helper.make_graph(nodes, "g", *values, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(made: onnx.ModelProto, feed: np.ndarray, tmp_path: Path) -> list[np.ndarray]:
    onnx.checker.check_model(made)
    path = tmp_path / f"{len(list(tmp_path.iterdir()))}.onnx"
    onnx.save(made, path)
    return load_model(path).run({made.graph.input[0].name: feed})


# --- Rewrites


def test_outputs_that_nobody_reads_go_with_what_made_them(tmp_path):
    nodes = [helper.make_node("Add", ["x", "one"], ["a"]), helper.make_node("Mul", ["x", "two"], ["b"])]
    made = model(nodes, {"x": [1]}, {"a": [1], "b": [1]}, [constant("one", [1]), constant("two", [2])])
    graphs.keep_outputs(made.graph, 1)
    assert [node.op_type for node in made.graph.node] == ["Add"]
    assert [each.name for each in made.graph.initializer] == ["one"]
    assert [output.tolist() for output in run(made, np.array([3], np.float32), tmp_path)] == [[4]]


def test_a_graph_for_one_input_takes_several_and_gives_each_its_row(tmp_path):
    """As the network of blendshapes does: a constant token beside each input's values, and only the first row out."""
    nodes = [
        helper.make_node("Concat", ["token", "x"], ["joined"], axis=2),
        helper.make_node("Reshape", ["joined", "flat"], ["rows"]),
        helper.make_node("Slice", ["rows", "from", "to"], ["first"]),
        helper.make_node("Squeeze", ["first", "axis"], ["y"]),
    ]
    constants = [
        constant("token", [[[7.0], [8.0]]]),
        constant("flat", [1, 6], np.int64),
        constant("from", [0], np.int64),
        constant("to", [1], np.int64),
        constant("axis", [0], np.int64),
    ]
    feeds = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    alone = model(nodes, {"x": [1, 2, 2]}, {"y": [6]}, constants)
    expected = [run(alone, feed[None], tmp_path)[0] for feed in feeds]
    graphs.free_batch(alone.graph)
    (found,) = run(alone, feeds, tmp_path)
    np.testing.assert_array_equal(found, np.stack(expected))
    assert found[0].tolist() == [7, 0, 1, 8, 2, 3]


def test_without_quantisation_weights_stay_what_they_were_and_nothing_is_rounded(tmp_path):
    """Per channel along the axis that the node names, zero points included; what is between layers passes through."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["weights", "scales", "zeros"], ["w"], axis=1),
        helper.make_node("MatMul", ["rounded", "w"], ["y"]),
    ]
    constants = [
        constant("scale", 0.5),
        constant("zero", 10, np.uint8),
        constant("weights", [[1, 2], [3, 4]], np.int8),
        constant("scales", [0.1, 10]),
        constant("zeros", [1, 0], np.int8),
    ]
    made = model(nodes, {"x": [1, 2]}, {"y": [1, 2]}, constants)
    graphs.drop_quantization(made.graph)
    assert [node.op_type for node in made.graph.node] == ["MatMul"]
    (found,) = run(made, np.array([[0.7, 1.0]], np.float32), tmp_path)
    np.testing.assert_allclose(found, [[0.7 * 0.0 + 1.0 * 0.2, 0.7 * 20 + 1.0 * 40]], rtol=1e-6)


# --- Comparing


def test_the_greatest_difference_is_found_wherever_it_is():
    expected = [[np.zeros((1, 2)), np.ones(3)], [np.zeros((1, 2)), np.ones(3)]]
    found = [[np.zeros(2), np.ones(3)], [np.zeros(2), np.array([1, 1.25, 1])]]
    assert greatest_difference(expected, found) == 0.25
    assert greatest_difference([[np.ones(1)]], [[np.array([np.nan])]]) == np.inf
    assert greatest_difference([[np.ones(3)]], [[np.ones(2)]]) == np.inf
    assert greatest_difference([], []) == np.inf


def things(*rows: tuple[float, float, float]) -> list[np.ndarray]:
    """Category, score and left edge of things."""
    boxes = [[0.0, left, 1.0, 1.0] for _, _, left in rows]
    return [np.array([boxes]), np.array([[kind for kind, _, _ in rows]]), np.array([[score for _, score, _ in rows]])]


@pytest.mark.parametrize(
    ("found", "miss"),
    [
        (((0, 0.9, 0.1), (76, 0.5, 0.3)), 0.0),
        (((76, 0.54, 0.3), (0, 0.9, 0.1)), 0.04),
        (((0, 0.9, 0.1), (76, 0.5, 0.36)), 0.06),
        (((0, 0.9, 0.1), (77, 0.5, 0.3)), 1.0),
        (((0, 0.9, 0.1), (76, 0.5, 0.3), (5, 0.22, 0.0)), 0.0),
        (((0, 0.9, 0.1), (76, 0.5, 0.3), (5, 0.6, 0.0)), 1.0),
    ],
    ids=["the same", "another score, another order", "moved", "another kind", "one more below", "one more above"],
)
def test_things_are_matched_by_kind_both_ways(found, miss):
    expected = things((0, 0.9, 0.1), (76, 0.5, 0.3))
    assert greatest_miss([expected], [things(*found)], tolerance=0.05) == pytest.approx(miss)


def test_the_photographs_feed_every_network_that_is_converted(pipeline, photo):
    models = {each.name: each for each in pipeline.models}
    wanted = {FACE_DETECTOR, *(each.reference for each in CONVERSIONS)}
    feeds = recorded({name: models[name] for name in wanted}, [photo("a_1")])
    assert {name for name, seen in feeds.items() if len(seen) >= 2} == wanted


# --- A converter that is none


@pytest.fixture
def directory(weights_dir, tmp_path) -> Path:
    """Return a directory with the weights that the comparison of MiniFASNet needs."""
    for path in weights_dir.iterdir():
        if path.is_file() and path.name.startswith(("anti_spoof", "face_detection_yunet")):
            (tmp_path / path.name).hardlink_to(path.resolve())
    return tmp_path


def converter(tmp_path: Path, program: str) -> Path:
    """Write an interpreter that tells versions as one with the converter does, and then runs ``program``."""
    path = tmp_path / "python"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nif sys.argv[1] == '-c':\n    print('none 1')\nelse:\n    {program}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


MINIFASNET = [each for each in CONVERSIONS if each.reference == LIVENESS]


def test_a_converter_that_fails_is_quoted(directory, photo):
    failing = converter(directory, "sys.exit('ValueError: no such operator')")
    with pytest.raises(ConversionError, match=r"minifasnet-2\.7: -m tf2onnx\.convert failed: ValueError: no such oper"):
        list(convert(MINIFASNET, converter=failing, directory=directory, images=[photo("a_1")]))


def test_a_missing_converter_is_named(directory, photo):
    with pytest.raises(ConversionError, match="the converter: /nowhere/python cannot be run: No such file"):
        list(convert(MINIFASNET, converter=Path("/nowhere/python"), directory=directory, images=[photo("a_1")]))


def test_a_graph_that_says_something_else_is_refused_and_not_kept(directory, photo):
    """It answers with the sum of the picture's channels instead."""
    nodes = [helper.make_node("ReduceMean", ["serving_default_args_0:0"], ["y"], axes=[1, 2], keepdims=0)]
    wrong = model(nodes, {"serving_default_args_0:0": [1, 80, 80, 3]}, {"y": [1, 3]}, [])
    onnx.save(wrong, directory / "wrong.onnx")
    copying = converter(
        directory,
        f"__import__('shutil').copy({str(directory / 'wrong.onnx')!r}, sys.argv[sys.argv.index('--output') + 1])",
    )
    with pytest.raises(ConversionError, match=r"minifasnet-2\.7 differs from LiteRT by \d+, more than 0\.001"):
        list(convert(MINIFASNET, converter=copying, directory=directory, images=[photo("a_1")]))
    assert list((directory / "converted").iterdir()) == []


def test_photographs_without_a_face_prove_nothing(directory):
    nobody = converter(directory, "pass")
    images = [np.zeros((480, 640, 3), np.uint8)]
    with pytest.raises(ConversionError, match=r"there is nothing in the photographs to compare minifasnet-2\.7 on"):
        list(convert(MINIFASNET, converter=nobody, directory=directory, images=images))


def test_a_network_that_is_not_converted_is_refused_by_name(capsys):
    assert main(["sface-2021dec"]) == 1
    assert "sface-2021dec is not converted; those are face-landmarker!" in capsys.readouterr().err


@pytest.mark.skipif(not CONVERTER.exists(), reason="the converter is not installed: run `make gpu-weights`")
def test_minifasnet_is_converted_and_says_the_same_to_eight_at_once(directory, photo):
    (made,) = convert(MINIFASNET, converter=CONVERTER, directory=directory, images=[photo("a_1")])
    assert made.difference < 1e-3
    assert made.path == converted_path(LIVENESS, directory=directory)
    pictures = np.random.default_rng(1).integers(0, 256, (8, 80, 80, 3)).astype(np.float32)
    original, found = load_model(weights_path(LIVENESS, directory=directory)), load_model(made.path)
    (together,) = found.run({"serving_default_args_0:0": pictures})
    for picture, values in zip(pictures, together, strict=True):
        (expected,) = original.run({"serving_default_args_0:0": picture[None]})
        np.testing.assert_allclose(values, expected[0], atol=1e-3)


# --- What is loaded


@pytest.fixture
def converted(tmp_path, monkeypatch, weights_dir) -> Path:
    """Return a converted MiniFASNet (a graph that is none of it) in a directory of weights of its own."""
    for path in weights_dir.iterdir():
        if path.is_file() and path.name.startswith("anti_spoof"):
            (tmp_path / path.name).hardlink_to(path.resolve())
    monkeypatch.setenv("WEIGHTS_DIR", str(tmp_path))
    path = converted_file(LIVENESS, tmp_path)
    path.parent.mkdir()
    onnx.save(model([helper.make_node("Relu", ["x"], ["y"])], {"x": ["n"]}, {"y": ["n"]}, []), path)
    note_converted(LIVENESS, path, {"converter": "none"})
    return path


def test_where_the_gpu_runs_the_conversion_is_loaded_and_elsewhere_litert(converted, monkeypatch, caplog):
    assert pipeline_module._load(LIVENESS, "cpu").provider == LITERT
    with caplog.at_level(logging.WARNING):
        assert pipeline_module._load(LIVENESS, "cuda").provider == LITERT, "on a CPU it is slower than LiteRT"
    assert "runs on the CPU" in caplog.text
    monkeypatch.setattr(pipeline_module, "CUDA", CPU)  # as if the GPU were what ONNX Runtime has here
    loaded = pipeline_module._load(LIVENESS, "cuda")
    assert (loaded.name, loaded.provider, loaded.input_names) == (LIVENESS, CPU, ["x"])


def test_each_part_of_a_bundle_has_a_file_of_its_own(tmp_path):
    files = [converted_file(each.reference, tmp_path).name for each in CONVERSIONS]
    assert files[0] == "face-landmarker.face_landmarks_detector.onnx"
    assert len(set(files)) == len(CONVERSIONS)


def test_without_a_conversion_there_is_none_to_load(converted):
    converted.unlink()
    assert converted_path(LIVENESS) is None


def test_a_conversion_swapped_for_another_file_is_refused(converted):
    converted.write_bytes(converted.read_bytes() + b"\0")
    with pytest.raises(WeightsError, match="is not the graph that was converted"):
        converted_path(LIVENESS)


@pytest.mark.parametrize("of", ["original_sha256", "rewriter_sha256"])
def test_a_conversion_of_other_weights_or_by_an_older_version_is_not_used_and_said(converted, caplog, of):
    note = converted.with_name(f"{converted.name}.json")
    note.write_text(json.dumps(json.loads(note.read_text()) | {of: "0" * 64}))
    with caplog.at_level(logging.WARNING):
        assert converted_path(LIVENESS) is None
    assert "run `make gpu-weights`" in caplog.text
