"""Networks in the place of a detector's own, on tiny graphs of the same signature, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from detection.engine import enrolling, quality
from detection.engine.adapters import arcface as arcface_adapter
from detection.engine.adapters import chosen_models, imagenet, l2cs, scrfd, sixdrepnet, with_chosen
from detection.engine.adapters.arcface import similarity_of
from detection.engine.detectors import DETECTORS
from detection.engine.detectors.identity import OTHER_MODEL
from detection.engine.findings import _model, reason
from detection.engine.learners import LEARNERS
from detection.engine.likeness import similarity
from detection.engine.observations import VIDEO, Face, Observation
from detection.engine.pipeline import Pipeline
from detection.engine.rulebook import RULES
from detection.engine.weights import WeightsError, load_manifest


def save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, Any]) -> None:
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializer=tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def value(name: str, *shape: Any) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


def arcface(path: Path) -> None:
    """An embedder as ArcFace's: ``[N, 3, 112, 112]`` → ``[N, 512]``."""
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["small"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["small"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["516"]),
    ]
    weights = {"w": np.random.default_rng(3).normal(size=(147, 512)).astype(np.float32)}
    save(path, nodes, [value("input.1", "N", 3, 112, 112)], [value("516", "N", 512)], weights)


def scrfd_of_64(path: Path, *, batch: bool = False) -> None:
    """A detector as SCRFD's for 64 by 64 pixels that always sees one face at stride 16, in row 1, column 2."""
    weights: dict[str, Any] = {}
    for kind, size in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride in scrfd.STRIDES:
            weights[f"{kind}_{stride}"] = np.zeros(((64 // stride) ** 2 * 2, size), np.float32)
    anchor = (1 * 4 + 2) * 2 + 1
    weights["score_16"][anchor] = 0.9
    weights["bbox_16"][anchor] = [0.5, 0.25, 1.0, 1.5]
    weights["kps_16"][anchor] = [-0.2, 0.1, 0.2, 0.1, 0, 0.3, -0.1, 0.6, 0.1, 0.6]
    if batch:
        weights = {name: array[None] for name, array in weights.items()}
    names = list(weights)
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in names]
    outputs = [value(f"{name}_out", *weights[name].shape) for name in names]
    save(path, nodes, [value("input.1", 1, 3, "H", "W")], outputs, weights)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a manifest of one's own, in force, with an embedder and a detector of faces."""
    arcface(tmp_path / "arc.onnx")
    scrfd_of_64(tmp_path / "scrfd.onnx")
    entries = [("tiny-arc", "arc.onnx", "arcface"), ("tiny-scrfd", "scrfd.onnx", "scrfd")]
    manifest = tmp_path / "own.toml"
    manifest.write_text("".join(entry(tmp_path, *each) for each in entries))
    monkeypatch.setenv("EXTRA_WEIGHTS", str(manifest))
    return manifest


def entry(directory: Path, name: str, file: str, adapter: str, more: str = "") -> str:
    sha256 = hashlib.sha256((directory / file).read_bytes()).hexdigest()
    return (
        f'[[file]]\nname = "{name}"\nsource = "{file}"\nsha256 = "{sha256}"\nlicence = "our own"\n'
        f'adapter = "{adapter}"\n{more}\n'
    )


def load(*detectors: str) -> Pipeline:
    entries = with_chosen(DETECTORS, chosen_models())
    return Pipeline.load(entries={name: entries[name] for name in detectors})


def test_an_embedder_of_the_arcface_kind_takes_the_place_of_sface(own, monkeypatch, photo, frame_job):
    monkeypatch.setenv("DETECTOR_MODELS", "identity=tiny-arc")
    pipeline = load("faces", "identity")
    assert [model.name for model in pipeline.models] == ["yunet-2023mar", "tiny-arc"]
    face = pipeline.faces.detect(photo("a_1"))[0]
    template = pipeline.embedder.embed(photo("a_1"), face)
    assert (template.shape, pipeline.embedder.model_name) == ((512,), "tiny-arc")
    job = frame_job(photo("a_1"), template=template, template_model="tiny-arc", attentive=True)
    identity = pipeline.analyse_frames([job])[0].measures["identity"]
    assert identity["comparison_score"] == pytest.approx(1, abs=1e-3)
    assert identity["model"] == "tiny-arc"


def test_its_input_is_rgb_between_minus_one_and_one(own, monkeypatch):
    fed: list[np.ndarray] = []

    class Listening:
        name, provider, batches, mean_ms, input_names = "m", "CPU", False, 0.0, ["input.1"]

        def run(self, feeds):
            fed.append(feeds["input.1"])
            return [np.ones((1, 512), np.float32)]

    embedder = arcface_adapter.build(Listening(), weight=load_manifest()["tiny-arc"])
    blue = np.full((112, 112, 3), (255, 0, 0), np.uint8)
    embedder._vectors([blue])
    assert fed[0].shape == (1, 3, 112, 112)
    assert [float(fed[0][0, channel].mean()) for channel in range(3)] == pytest.approx([-1, -1, 1])


def test_a_template_of_another_network_is_never_compared(own, monkeypatch, photo, frame_job):
    monkeypatch.setenv("DETECTOR_MODELS", "identity=tiny-arc")
    pipeline = load("faces", "identity")
    sface = np.ones(128, np.float32) / np.sqrt(128, dtype=np.float32)
    seen = pipeline.analyse_frames([frame_job(photo("a_1"), template=sface, attentive=True)])[0].measures
    assert "errors" not in seen
    assert (seen["identity"]["decided"], seen["identity"]["reason"]) == (False, OTHER_MODEL)


def test_the_operating_score_of_a_network_is_the_default_threshold(own):
    assert similarity_of("sface-2021dec", 0.363) == pytest.approx(0.75)
    assert similarity_of("tiny-arc", 0.32) == pytest.approx(0.75)
    own.write_text(
        own.read_text().replace('adapter = "arcface"', 'adapter = "arcface"\noptions = {operating_score = 0.2}')
    )
    assert similarity_of("tiny-arc", 0.2) == pytest.approx(0.75)
    assert similarity(0.32, operating=0.32) == pytest.approx(0.75)
    assert similarity(0.0, operating=0.32) == pytest.approx(0.02)


@pytest.mark.parametrize("batch", [False, True])
def test_a_detector_of_the_scrfd_kind_takes_the_place_of_yunet(tmp_path, own, monkeypatch, frame_job, batch):
    scrfd_of_64(tmp_path / "scrfd.onnx", batch=batch)
    own.write_text(entry(tmp_path, "tiny-scrfd", "scrfd.onnx", "scrfd"))
    monkeypatch.setenv("DETECTOR_MODELS", "faces=tiny-scrfd")
    pipeline = load("faces")
    (face,) = pipeline.faces.detect(np.zeros((60, 50, 3), np.uint8))
    assert face.box_xyxy == pytest.approx((32 - 8, 16 - 4, 32 + 16, 16 + 24))
    assert face.score == pytest.approx(0.9)
    assert face.landmarks[0] == pytest.approx([32 - 3.2, 16 + 1.6])
    assert face.landmarks[3] == pytest.approx([32 - 1.6, 16 + 9.6])
    assert pipeline.analyse_frames([frame_job(np.zeros((60, 50, 3), np.uint8))])[0].measures["faces"]["count"] == 1


def test_enrolment_and_session_both_run_the_networks_that_were_chosen(own, monkeypatch, frame_job):
    monkeypatch.setenv("DETECTOR_MODELS", "faces=tiny-scrfd,identity=tiny-arc")
    monkeypatch.setattr(quality, "assess", lambda image, faces: [])  # the tiny network sees its face in anything
    pipeline = load("faces", "identity")
    assert [model.name for model in pipeline.models] == ["tiny-scrfd", "tiny-arc"]
    image = np.random.default_rng(1).integers(0, 255, (60, 50, 3), np.uint8)
    enrolled = enrolling.read(pipeline, image).probe
    assert enrolled is not None
    assert enrolled.embedding.shape == (512,)
    job = frame_job(image, template=enrolled.embedding, template_model="tiny-arc", attentive=True)
    seen = pipeline.analyse_frames([job])[0].measures
    assert "errors" not in seen
    assert seen["faces"]["count"] == 1
    assert seen["identity"]["comparison_score"] == pytest.approx(1, abs=1e-3)


def test_a_picture_is_fed_to_scrfd_as_rgb_with_black_beyond_its_edges():
    fed = scrfd.feed(np.full((33, 20, 3), (255, 0, 0), np.uint8))
    assert fed.shape == (1, 3, 64, 32)
    assert fed[0, :, 0, 0] == pytest.approx([-127.5 / 128, -127.5 / 128, 127.5 / 128])
    assert fed[0, :, 40, 30] == pytest.approx([-127.5 / 128] * 3)


def test_outputs_of_another_size_are_refused():
    with pytest.raises(ValueError, match="reshape"):
        scrfd.decode([np.zeros((4, 1), np.float32)] * 9, 64, 64, 1.0)


def test_the_measure_and_the_finding_name_the_network(own, monkeypatch, frame_job):
    monkeypatch.setenv("DETECTOR_MODELS", "faces=tiny-scrfd")
    measures = Pipeline.load().analyse_frames([frame_job(np.zeros((60, 50, 3), np.uint8))])[0].measures
    assert measures["faces"]["model"] == "tiny-scrfd"

    class Decided:
        measures = {"decision": {"persons": {"visible": 0, "model": "tiny-scrfd"}}}

    assert _model(Decided(), RULES["NO_FACE"]) == "tiny-scrfd"


def test_a_finding_from_a_learner_names_the_network_that_measured_what_it_learnt_from():
    observation = Observation(
        "f", VIDEO, 10.0, {"gaze": {"yaw_deg": 30.0, "model": "tiny-gaze"}, "gaze_line": {"off_deg": 30.0}}
    )
    assert reason(RULES["GAZE_OFF_SCREEN"], observation) == {"gaze_line": {"off_deg": 30.0, "model": "tiny-gaze"}}
    own = Observation("f", VIDEO, 10.0, {"gaze": {"yaw_deg": 30.0}, "gaze_line": {"off_deg": 30.0}})
    assert reason(RULES["GAZE_OFF_SCREEN"], own) == {"gaze_line": {"off_deg": 30.0}}


def test_every_swapped_network_is_named_by_the_findings_of_its_detector():
    learnt = {rule.detector for rule in RULES.values()} & LEARNERS.keys()
    no_network = {rule.detector for rule in RULES.values() if not rule.model}
    assert learnt
    assert {rule.source for rule in RULES.values() if rule.detector in learnt - no_network} <= DETECTORS.keys()


# --- Angles


def test_gaze_is_the_expectation_over_the_bins_in_the_glossarys_signs():
    horizontal, vertical = np.full((1, 90), -50.0), np.full((1, 90), -50.0)
    horizontal[0, 50] = vertical[0, [47, 48]] = 50.0
    yaw_deg, pitch_deg = l2cs.angles_deg(horizontal, vertical)
    assert (float(yaw_deg[0]), float(pitch_deg[0])) == pytest.approx((-20, 10))
    with pytest.raises(ValueError, match="not \\(N, 90\\)"):
        l2cs.angles_deg(np.zeros((1, 28)), np.zeros((1, 28)))


def test_a_crop_is_fed_normalised_as_for_imagenet():
    fed = imagenet.feed(np.full((10, 10, 3), (0, 0, 255), np.uint8), size=448)
    assert fed.shape == (1, 3, 448, 448)
    assert fed[0, :, 0, 0] == pytest.approx([(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], abs=1e-5)


def test_a_face_is_cut_square_with_a_margin_and_within_the_picture():
    image = np.arange(100 * 80 * 3, dtype=np.uint32).reshape(100, 80, 3).astype(np.uint8)
    landmarks = np.zeros((5, 2), np.float32)
    inside = imagenet.cut(image, Face((30, 40, 50, 60), 1.0, landmarks), margin=0.2)
    assert np.array_equal(inside, image[36:64, 26:54])
    assert imagenet.cut(image, Face((-50, 10, 10, 60), 1.0, landmarks), margin=0.0).shape == (60, 10, 3)
    assert imagenet.cut(image, Face((200, 200, 210, 210), 1.0, landmarks), margin=0.0).shape == (1, 1, 3)


def constants(path: Path, size: int, **outputs: np.ndarray) -> None:
    """A network that says the same of every picture."""
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in outputs]
    weights = {name: array.astype(np.float32) for name, array in outputs.items()}
    shown = [value(f"{name}_out", *array.shape) for name, array in outputs.items()]
    save(path, nodes, [value("input", 1, 3, size, size)], shown, weights)


def test_networks_for_gaze_and_head_take_the_detectors_places(own, tmp_path, monkeypatch, photo, frame_job):
    logits = np.full((1, 90), -50.0)
    logits[0, 50] = 50.0
    constants(tmp_path / "gaze.onnx", 448, yaw=logits, pitch=logits)
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    constants(tmp_path / "head.onnx", 224, rotation=np.array([[[c, 0, s], [0, 1, 0], [-s, 0, c]]]))
    entries = [("tiny-gaze", "gaze.onnx", "l2cs"), ("tiny-head", "head.onnx", "6drepnet")]
    own.write_text("".join(entry(tmp_path, *each) for each in entries))
    monkeypatch.setenv("DETECTOR_MODELS", "gaze=tiny-gaze, head_pose=tiny-head")
    seen = load("faces", "head_pose", "gaze").analyse_frames([frame_job(photo("a_1"))])[0].measures
    assert (seen["gaze"]["yaw_deg"], seen["gaze"]["pitch_deg"]) == (-20, 20)
    assert (seen["head_pose"]["yaw_deg"], seen["head_pose"]["pitch_deg"], seen["head_pose"]["roll_deg"]) == (-20, 0, 0)
    assert "errors" not in seen


@pytest.mark.parametrize(("axis", "expected"), [("y", (-30, 0, 0)), ("x", (0, 30, 0)), ("z", (0, 0, 30))])
def test_a_head_s_rotation_becomes_angles_in_the_glossarys_signs(axis, expected):
    c, s = np.cos(np.radians(30)), np.sin(np.radians(30))
    rotation = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }[axis]
    angles = [float(angle[0]) for angle in sixdrepnet.angles_deg(np.array([rotation]))]
    assert angles == pytest.approx(expected, abs=1e-9)


# --- What is refused


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ("identity", "is not DETECTOR=MODEL"),
        ("nose=tiny-arc", "no detector of that name"),
        ("identity=nothing", "neither weights.toml nor EXTRA_WEIGHTS"),
        ("identity=tiny-scrfd", "takes the place of faces"),
        ("identity=sface-2021dec", "adapter is None"),
        ("identity=w600k-mbf", "ACCEPT_NON_COMMERCIAL_WEIGHTS=true"),
    ],
)
def test_a_choice_that_cannot_be_is_explained(own, monkeypatch, chosen, sentence):
    monkeypatch.setenv("DETECTOR_MODELS", chosen)
    monkeypatch.delenv("ACCEPT_NON_COMMERCIAL_WEIGHTS", raising=False)
    with pytest.raises(WeightsError, match=sentence):
        Pipeline.load()


def test_nothing_chosen_changes_nothing(monkeypatch):
    monkeypatch.setenv("DETECTOR_MODELS", " ")
    assert with_chosen(DETECTORS, chosen_models()) == dict(DETECTORS)


def test_a_non_commercial_file_of_ones_own_needs_the_word(own, monkeypatch, tmp_path):
    own.write_text(entry(tmp_path, "tiny-arc", "arc.onnx", "arcface", 'licence_class = "non-commercial"'))
    monkeypatch.setenv("DETECTOR_MODELS", "identity=tiny-arc")
    monkeypatch.setenv("ACCEPT_NON_COMMERCIAL_WEIGHTS", "false")
    with pytest.raises(WeightsError, match="tiny-arc is licensed for non-commercial use only \\(our own\\)"):
        load("identity")
    monkeypatch.setenv("ACCEPT_NON_COMMERCIAL_WEIGHTS", "true")
    assert load("identity").unavailable == {}


def test_a_file_of_ones_own_that_was_swapped_is_noticed(own, monkeypatch, tmp_path):
    (tmp_path / "arc.onnx").write_bytes(b"something else")
    monkeypatch.setenv("DETECTOR_MODELS", "identity=tiny-arc")
    assert "has sha256" in load("identity").unavailable["identity"]
    (tmp_path / "arc.onnx").unlink()
    assert "does not exist" in load("identity").unavailable["identity"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[[file]]\nname = "sface-2021dec"\nsource = "x"\nsha256 = "%s"\nlicence = "l"\nadapter = "a"\n', "already"),
        ('[[file]]\nname = "x"\nsource = "x"\nlicence = "l"\nadapter = "a"\n', "own.toml, entry x: sha256 is missing"),
        ('[[file]]\nname = "x"\nsource = "x"\nsha256 = "%s"\nlicence = "l"\nadapter = "a"\npatch = "p"\n', "patched"),
        (
            '[[file]]\nname = "x"\nsource = "x"\nsha256 = "%s"\nlicence = "l"\nadapter = "a"\noptions = {a = "b"}\n',
            "options are numbers",
        ),
        ("[[file", "own.toml is not TOML"),
    ],
)
def test_a_manifest_of_ones_own_that_is_wrong_is_named(own, text, sentence):
    own.write_text(text.replace("%s", "0" * 64))
    with pytest.raises(WeightsError, match=sentence):
        load_manifest()


def test_a_manifest_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("EXTRA_WEIGHTS", str(tmp_path / "none.toml"))
    with pytest.raises(WeightsError, match="cannot be read"):
        load_manifest()
