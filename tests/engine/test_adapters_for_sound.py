"""Networks for voices and words in the place of a detector's own, on tiny graphs of the same signature."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from detection.engine.adapters import chosen_models, with_chosen
from detection.engine.detectors import DETECTORS
from detection.engine.findings import _model
from detection.engine.learners.voices import Voices
from detection.engine.media import SAMPLE_RATE_HZ, AudioWindow
from detection.engine.observations import AUDIO, Observation
from detection.engine.pipeline import Pipeline
from detection.engine.policy import EventType, Policy
from detection.engine.rulebook import RULES
from detection.engine.samples import AudioJob
from detection.engine.segmentation import OVERLAP, Powerset
from detection.engine.weights import WeightsError
from tests.engine.talk import ANNA, says

RATE = SAMPLE_RATE_HZ


def save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], weights: dict[str, np.ndarray]) -> None:
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializer=tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)


def value(name: str, *shape: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, list(shape))


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    return helper.make_node(kind, inputs, [output], **attributes)


def segmenter(path: Path, *, classes: int, says: int, hop: int = 270) -> None:
    """A network as pyannote's: ``[N, 1, samples]`` → ``[N, frames, classes]``, log; always of one opinion."""
    bias = np.full(classes, -9.0, np.float32)
    bias[says] = 9.0
    weights = {"w": np.zeros((classes, 1, 991), np.float32), "b": bias}
    nodes = [
        node("Conv", ["waveform", "w", "b"], "each", strides=[hop]),
        node("Transpose", ["each"], "turned", perm=[0, 2, 1]),
        node("LogSoftmax", ["turned"], "log", axis=-1),
    ]
    save(path, nodes, [value("waveform", "N", 1, "samples")], [value("log", "N", "frames", classes)], weights)


def embedder(path: Path, *, size: int = 192) -> None:
    """A network as WeSpeaker's, with another name for its input: ``[1, frames, 80]`` → ``[1, size]``."""
    weights = {"w": np.random.default_rng(5).normal(size=(80, size)).astype(np.float32)}
    nodes = [node("ReduceL2", ["feats"], "level", axes=[1], keepdims=0), node("MatMul", ["level", "w"], "embs")]
    save(path, nodes, [value("feats", 1, "frames", 80)], [value("embs", 1, size)], weights)


def entry(path: Path, name: str, more: str = "") -> str:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return f'[[file]]\nname = "{name}"\nsource = "{path.name}"\nsha256 = "{sha256}"\nlicence = "our own"\n{more}\n'


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a manifest of one's own, which is in force."""
    monkeypatch.setenv("EXTRA_WEIGHTS", str(tmp_path / "own.toml"))
    return tmp_path / "own.toml"


def load(monkeypatch: pytest.MonkeyPatch, chosen: str, *detectors: str) -> Pipeline:
    monkeypatch.setenv("DETECTOR_MODELS", chosen)
    entries = with_chosen(DETECTORS, chosen_models())
    return Pipeline.load(entries={name: entries[name] for name in detectors})


def talking(policy: Policy | None = None) -> AudioJob:
    """Return three seconds of a voice, as one window that hears the two before it."""
    line = says(ANNA, 0)[: 3 * RATE]
    window = AudioWindow("w", line[2 * RATE :], 0, 102.0, 103.0)
    return AudioJob(window, policy or Policy(), load_past=lambda: line[: 2 * RATE])


# --- Who speaks


def test_a_segmenter_with_more_voices_takes_the_place_of_segmentation_3(own, tmp_path, monkeypatch):
    segmenter(tmp_path / "seg.onnx", classes=11, says=5)  # nobody, 1, 2, 3, 4, then 1+2
    own.write_text(entry(tmp_path / "seg.onnx", "tiny-seg", 'adapter = "pyannote"\noptions = { voices = 4 }'))
    pipeline = load(monkeypatch, "speakers=tiny-seg", "speech", "speakers")
    assert "tiny-seg" in [model.name for model in pipeline.models]
    seen = pipeline.analyse_audio([talking()])[0].measures
    assert "errors" not in seen
    assert seen["speakers"]["overlap_s"] == pytest.approx(3, abs=0.1)
    timeline = pipeline.detector("speakers").timeline(np.zeros(12 * RATE, np.float32))
    assert timeline.speakers == 2


def test_its_classes_are_all_sets_of_voices_the_smaller_first():
    active = Powerset(voices=3, at_once=2).active
    assert [list(row) for row in active] == [
        [0, 0, 0],
        [1, 0, 0],
        [0, 1, 0],
        [0, 0, 1],
        [1, 1, 0],
        [1, 0, 1],
        [0, 1, 1],
    ]
    assert Powerset(voices=4, at_once=3).active.shape == (1 + 4 + 6 + 4, 4)


def test_its_own_threshold_of_overlap_becomes_the_detectors():
    classes = np.zeros((3, 7), np.float32)
    classes[:, 4] = [0.39, 0.4, 1.0]
    classes[:, 1] = 1 - classes[:, 4]
    found = Powerset(overlap=0.4).read(classes)
    assert list(found.talk_at_once) == [False, True, True]
    assert found.overlap[1:] == pytest.approx([OVERLAP, 1.0])


@pytest.mark.parametrize(
    ("graph", "options", "sentence"),
    [
        ({"classes": 7, "says": 0}, "{ voices = 4 }", r"makes \(1, 589, 7\) of 10 s of sound, not \(1, 589, 11\)"),
        ({"classes": 7, "says": 0, "hop": 320}, "{}", r"not \(1, 589, 7\)"),
        ({"classes": 7, "says": 0}, "{ at_once = 1 }", "at_once from 2 to voices"),
        ({"classes": 7, "says": 0}, "{ overlap = 1 }", "overlap from 0 to 1"),
    ],
)
def test_a_segmenter_that_does_not_fit_is_switched_off_with_the_reason(
    own, tmp_path, monkeypatch, graph, options, sentence
):
    segmenter(tmp_path / "seg.onnx", **graph)
    own.write_text(entry(tmp_path / "seg.onnx", "tiny-seg", f'adapter = "pyannote"\noptions = {options}'))
    pipeline = load(monkeypatch, "speakers=tiny-seg", "speech", "speakers")
    assert list(pipeline.unavailable) == ["speakers"]
    assert re.search(sentence, pipeline.unavailable["speakers"])


# --- Whose voice


def test_an_embedder_of_voices_takes_the_place_of_wespeaker(own, tmp_path, monkeypatch):
    embedder(tmp_path / "voice.onnx")
    own.write_text(entry(tmp_path / "voice.onnx", "tiny-voice", 'adapter = "wespeaker"'))
    pipeline = load(monkeypatch, "voice=tiny-voice", "speech", "speakers", "voice")
    assert "tiny-voice" in [model.name for model in pipeline.models]
    seen = pipeline.analyse_audio([talking()])[0].measures
    assert "errors" not in seen
    assert len(seen["voice"]["embedding"]) == 192
    assert pipeline.detector("voice").embed(np.zeros(RATE, np.float32)) is not None


def heard(at: float, embedding: list[int], **more: Any) -> Observation:
    voice = {"seconds": 2.0, "same": None, "embedding": embedding, **more}
    return Observation("w", AUDIO, at, {"voice": voice}, started_at=at - 1)


def test_a_voice_of_another_network_is_never_compared_with_the_one_learnt():
    policy = Policy.from_dict({"rules": {"UNKNOWN_VOICE": {"enabled": True}}})
    learner, state = Voices(), {}
    for at in (1.0, 2.0, 3.0, 4.0):
        state, derived = learner.learn(state, heard(at, [100, 1]), policy)
    assert derived is not None
    state, derived = learner.learn(state, heard(5.0, [1, 2, 3], model="tiny-voice"), policy)
    assert derived is None
    assert (state["learnt"], state["count"], state["model"]) == ([1, 2, 3], 1, "tiny-voice")
    state, derived = learner.learn(state, heard(6.0, [100, 1, 7]), policy)
    assert derived is None
    assert state["learnt"] == [100, 1, 7]


# --- What is said

WORDS = ("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>", "answer")


def whisper(directory: Path) -> None:
    """A Whisper that hears the word *answer* in everything, in optimum's form: merged decoder, caches and all.

    It looks its next word up by the last one: the text's beginning is followed by the language, the end of the prompt
    by the word, the word by the end.
    """
    after = np.full((len(WORDS), len(WORDS)), -9.0, np.float32)
    for last, following in ((1, 2), (4, 5), (5, 0), (0, 0)):
        after[last, following] = 9.0
    save(
        directory / "encoder.onnx",
        [node("Slice", ["input_features", "from", "to", "axis"], "last_hidden_state")],
        [value("input_features", "N", 80, 3000)],
        [value("last_hidden_state", "N", 80, "frames")],
        {
            "from": np.array([0], np.int64),
            "to": np.array([1500], np.int64),
            "axis": np.array([2], np.int64),
        },
    )
    cache = "0.decoder.key"
    save(
        directory / "decoder.onnx",
        [
            node("Gather", ["after", "input_ids"], "logits", axis=0),
            # As the real graph's, the cache is empty before the first word and has a row for each candidate after it.
            node("Shape", ["input_ids"], "rows", start=0, end=1),
            node("Concat", ["rows", "sizes"], "size", axis=0),
            node("ConstantOfShape", ["size"], f"present.{cache}"),
        ],
        [
            value("input_ids", "N", "T", kind=TensorProto.INT64),
            value("encoder_hidden_states", "N", 80, "frames"),
            value(f"past_key_values.{cache}", "N", 1, "past", 4),
            value("use_cache_branch", 1, kind=TensorProto.BOOL),
        ],
        [value("logits", "N", "T", len(WORDS)), value(f"present.{cache}", "N", 1, "past", 4)],
        {"after": after, "sizes": np.array([1, 1, 4], np.int64)},
    )
    words = {word: number for number, word in enumerate(WORDS)}
    added = {word: number for word, number in words.items() if word.startswith("<|")}
    (directory / "vocab.json").write_text(json.dumps({"answer": words["answer"]}))
    (directory / "added_tokens.json").write_text(json.dumps(added))


def whisper_entries(directory: Path, parts: str = "") -> str:
    parts = parts or 'decoder = "tiny-decoder", vocab = "tiny-vocab", added_tokens = "tiny-added"'
    return (
        entry(directory / "encoder.onnx", "tiny-whisper", f'adapter = "whisper"\nparts = {{ {parts} }}')
        + entry(directory / "decoder.onnx", "tiny-decoder")
        + entry(directory / "vocab.json", "tiny-vocab")
        + entry(directory / "added_tokens.json", "tiny-added")
    )


ASKED = Policy.from_dict({"detectors": {"transcript": {"enabled": True, "keywords": ["answer"]}}})


def test_another_whisper_takes_the_place_of_whisper_base(own, tmp_path, monkeypatch):
    whisper(tmp_path)
    own.write_text(whisper_entries(tmp_path))
    pipeline = load(monkeypatch, "transcript=tiny-whisper", "speech", "transcript")
    assert pipeline.unavailable == {}
    assert "tiny-whisper" in [model.name for model in pipeline.models]
    seen = pipeline.analyse_audio([talking(ASKED)])[0].measures
    assert "errors" not in seen
    assert (seen["transcript"]["keywords"], seen["transcript"]["language"]) == (["answer"], "en")
    assert seen["transcript"]["text"] == "answer"


@pytest.mark.parametrize(
    ("parts", "sentence"),
    [
        ('decoder = "tiny-decoder"', "parts lack vocab, added_tokens"),
        ('decoder = "a", vocab = "tiny-vocab", added_tokens = "tiny-added"', "part decoder: neither .* has a"),
        (
            'decoder = "tiny-decoder", vocab = "tiny-vocab", added_tokens = "tiny-added", nose = "tiny-vocab"',
            "no part nose",
        ),
        ("decoder = 1", "parts are names of entries"),
    ],
)
def test_a_whisper_whose_parts_are_not_there_is_explained(own, tmp_path, monkeypatch, parts, sentence):
    whisper(tmp_path)
    own.write_text(whisper_entries(tmp_path, parts))
    with pytest.raises(WeightsError, match=sentence):
        load(monkeypatch, "transcript=tiny-whisper", "transcript")


def test_a_whisper_that_was_chosen_and_is_not_there_is_missed_loudly(own, tmp_path, monkeypatch, weights_dir):
    whisper(tmp_path)
    own.write_text(whisper_entries(tmp_path))
    (tmp_path / "decoder.onnx").unlink()
    monkeypatch.setenv("DETECTOR_MODELS", "transcript=tiny-whisper")
    pipeline = Pipeline.load()
    assert "decoder.onnx does not exist" in pipeline.unavailable["transcript"]
    assert pipeline.not_installed == {}


@pytest.mark.parametrize(
    ("event", "detector"),
    [("MULTIPLE_SPEAKERS", "conversation"), ("UNKNOWN_VOICE", "voices"), ("KEYWORD_SPOKEN", "transcript")],
)
def test_findings_name_the_network_that_heard(event, detector):
    class Decided:
        measures = {"decision": {detector: {"model": "tiny"}}}

    assert _model(Decided(), RULES[EventType(event)]) == "tiny"
