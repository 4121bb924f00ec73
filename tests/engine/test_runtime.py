"""Loading and running networks: where they run is told, and a fallback is loud."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from detection.engine import runtime
from detection.engine.runtime import CPU, CUDA, LITERT, RuntimeModelError, load_model
from detection.engine.weights import weights_path


@pytest.fixture
def doubler(tmp_path: Path) -> Path:
    """A graph that doubles its input."""
    line = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    two = helper.make_tensor("two", TensorProto.FLOAT, [1], [2.0])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "two"], ["y"])], "doubler", line[:1], line[1:], [two])
    path = tmp_path / "doubler.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_model_runs_and_counts_its_milliseconds(doubler):
    model = load_model(doubler, name="doubler-1")
    assert (model.name, model.provider, model.batches, model.mean_ms) == ("doubler-1", CPU, False, 0.0)
    for _ in range(3):
        (found,) = model.run({"x": np.array([1, 2], np.float32)})
    np.testing.assert_array_equal(found, [2, 4])
    assert 0 < model.mean_ms < 1000


def test_the_mean_follows_recent_runs(doubler, monkeypatch):
    model = load_model(doubler)
    ticks = iter([0.0, 0.010, 1.0, 1.030])
    monkeypatch.setattr(runtime.time, "perf_counter", lambda: next(ticks))
    model.run({"x": np.zeros(1, np.float32)})
    assert model.mean_ms == pytest.approx(10)
    model.run({"x": np.zeros(1, np.float32)})
    assert model.mean_ms == pytest.approx(11)


def test_every_model_has_one_thread(doubler):
    options = load_model(doubler)._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)


def test_a_fallback_from_cuda_is_loud(doubler, caplog, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])
    with caplog.at_level(logging.WARNING):
        model = load_model(doubler, device="cuda", name="doubler-1")
    assert model.provider == CPU
    assert not model.batches
    (record,) = caplog.records
    assert "MODEL_DEVICE=cuda, but doubler-1 runs on the CPU" in record.getMessage()
    assert "requirements-gpu.txt" in record.getMessage()


def test_a_cuda_that_does_not_start_is_loud_too(doubler, caplog, monkeypatch):
    """ONNX Runtime drops a provider that fails to start and goes on with the next."""
    open_session = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    asked = []

    def without_cuda(path, sess_options, providers):
        asked.extend(providers)
        return open_session(path, sess_options=sess_options, providers=[CPU])

    monkeypatch.setattr(onnxruntime, "InferenceSession", without_cuda)
    with caplog.at_level(logging.WARNING):
        model = load_model(doubler, device="cuda")
    assert [provider for provider, _ in asked] == [CUDA, CPU]
    assert asked[0][1]["cudnn_conv_algo_search"] == "HEURISTIC"
    assert model.provider == CPU
    assert "could not start CUDA" in caplog.text


def test_a_litert_graph_that_stays_on_the_cpu_is_loud_too(weights_dir, caplog):
    with caplog.at_level(logging.WARNING):
        model = load_model(weights_path("minifasnet-2.7"), device="cuda", name="minifasnet-2.7")
    assert model.provider == LITERT
    assert "MODEL_DEVICE=cuda, but minifasnet-2.7 runs on the CPU, in LiteRT" in caplog.text


def test_the_cpu_says_nothing(doubler, caplog):
    with caplog.at_level(logging.WARNING):
        load_model(doubler, device="cpu")
    assert caplog.records == []


def test_an_unknown_device_is_refused(doubler):
    with pytest.raises(ValueError, match="MODEL_DEVICE must be one of cpu, cuda, not 'tpu'"):
        load_model(doubler, device="tpu")


@pytest.mark.parametrize("content", [b"", b"not a graph"])
def test_a_file_that_is_no_graph_is_named(tmp_path, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(RuntimeModelError, match=r"broken\.onnx cannot be loaded"):
        load_model(path)
    with pytest.raises(RuntimeModelError, match=r"missing\.onnx cannot be loaded"):
        load_model(tmp_path / "missing.onnx")


@pytest.mark.skipif(CUDA not in onnxruntime.get_available_providers(), reason="this onnxruntime has no CUDA")
def test_a_gpu_is_used_and_batches(doubler):
    model = load_model(doubler, device="cuda")
    assert model.provider == CUDA
    assert model.batches


def test_a_part_of_a_bundle_runs_in_litert(weights_dir):
    model = load_model(weights_path("face-landmarker"), name="landmarks", part="face_landmarks_detector.tflite")
    assert (model.name, model.provider, model.batches) == ("landmarks", LITERT, False)
    (name,) = model.input_names
    points, presence, *_ = model.run({name: np.zeros((1, 256, 256, 3), np.float32)})
    assert (points.size, presence.size) == (478 * 3, 1)
    assert model.mean_ms > 0


def test_a_part_that_there_is_not_is_named(weights_dir):
    with pytest.raises(RuntimeModelError, match=r"face_landmarker\.task has no part nose\.tflite"):
        load_model(weights_path("face-landmarker"), part="nose.tflite")


def test_a_file_that_is_no_tflite_graph_is_named(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"not a graph" * 50)
    with pytest.raises(RuntimeModelError, match=r"bad\.tflite cannot be loaded as a LiteRT model"):
        load_model(tmp_path / "bad.tflite")
