"""Rewritten graphs give the numbers of the originals, at any size and number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detection.engine import graph_patch
from detection.engine.runtime import OnnxModel, load_model

SFACE = "face_recognition_sface_2021dec.onnx"
YUNET = "face_detection_yunet_2023mar.onnx"


@pytest.fixture(scope="module")
def patched(weights_dir: Path, tmp_path_factory: pytest.TempPathFactory):
    """Return a function that patches an original and loads both: (original, patched)."""

    def pair(patch: str, file: str) -> tuple[OnnxModel, OnnxModel]:
        target = tmp_path_factory.mktemp("patched") / file
        graph_patch.apply(patch, weights_dir / file, target)
        assert not list(target.parent.glob(".*"))
        return load_model(weights_dir / file), load_model(target)

    return pair


def test_sface_without_prelu_gives_the_same_embeddings(patched):
    original, rewritten = patched("prelu", SFACE)
    faces = np.random.default_rng(3).integers(0, 256, (5, 3, 112, 112)).astype(np.float32)
    expected = np.concatenate([original.run({"data": face[None]})[0] for face in faces])
    (found,) = rewritten.run({"data": faces})
    assert found.shape == (5, 128)
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_sface_has_no_prelu_and_no_overridable_constants_left(patched):
    _, rewritten = patched("prelu", SFACE)
    assert rewritten.input_names == ["data"]


def test_yunet_gives_the_same_at_its_own_size(patched):
    original, rewritten = patched("dynamic_shape", YUNET)
    picture = np.random.default_rng(3).integers(0, 256, (1, 3, 640, 640)).astype(np.float32)
    expected, found = original.run({"input": picture}), rewritten.run({"input": picture})
    assert len(expected) == len(found) == 12
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("size_hw", [(32, 32), (480, 640), (224, 320)])
def test_yunet_takes_several_pictures_of_any_size(patched, size_hw):
    _, rewritten = patched("dynamic_shape", YUNET)
    pictures = np.random.default_rng(3).integers(0, 256, (3, 3, *size_hw)).astype(np.float32)
    together = rewritten.run({"input": pictures})
    cells = size_hw[0] * size_hw[1] // 64
    assert together[0].shape == (3, cells, 1)
    for index in range(3):
        alone = rewritten.run({"input": pictures[index : index + 1]})
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(one[index], other[0], atol=1e-4)


def test_an_unknown_patch_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="'polish'; there are prelu, dynamic_shape"):
        graph_patch.apply("polish", tmp_path / "a.onnx", tmp_path / "b.onnx")


def test_a_failed_patch_leaves_nothing_behind(tmp_path):
    source = tmp_path / "a.onnx"
    source.write_bytes(b"no graph")
    with pytest.raises(Exception, match="parsing message"):
        graph_patch.apply("prelu", source, tmp_path / "b.onnx")
    assert list(tmp_path.iterdir()) == [source]
