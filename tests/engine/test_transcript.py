"""Keywords in what is said: with a recogniser of the tests' own, and what of it is kept."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from detection.engine import recogniser
from detection.engine.detectors import DETECTORS
from detection.engine.detectors.transcript import WHISPER_BASE, TranscriptDetector, spoken
from detection.engine.media import SAMPLE_RATE_HZ, AudioWindow
from detection.engine.model import Heard
from detection.engine.observations import AUDIO, Observation, SpeechMeasure, without_private
from detection.engine.pipeline import Pipeline
from detection.engine.policy import EventType, Policy, PolicyError
from detection.engine.recogniser import load_recogniser
from detection.engine.rules import RulesState, advance
from detection.engine.samples import AudioJob, AudioSample
from detection.engine.silero import CHUNK_S
from detection.engine.weights import WeightsUnavailableError, load_manifest

WORDS = ["answer", "Frage drei"]


class Silero:
    """A network that hears a third of a second of speech, so long ago, and else nothing."""

    name, provider, batches, mean_ms, input_names = "silero", "CPUExecutionProvider", False, 0.0, ["input"]

    def __init__(self, *spoken_s_ago: float) -> None:
        self._chunks = [round(ago_s / CHUNK_S) for ago_s in spoken_s_ago]

    def run(self, feeds):
        heard = np.zeros(len(feeds["input"]), np.float32)
        for ago in self._chunks:
            heard[-ago - 10 : -ago or None] = 1.0
        return [heard, feeds["h"], feeds["c"]]


class Ear:
    """A recogniser that hears what it is told to."""

    models = ()

    def __init__(self, text: str) -> None:
        self._text = text
        self.lengths_s: list[float] = []

    def hear(self, samples) -> Heard:
        self.lengths_s.append(len(samples) / SAMPLE_RATE_HZ)
        return Heard(self._text, "en")


def policy(**transcript: Any) -> Policy:
    return Policy.from_dict({"detectors": {"transcript": {"enabled": True, "keywords": WORDS, **transcript}}})


def sample(at: float = 25.0, *, share: float = 0.8, past_s: float = 10.0, rules: Policy | None = None) -> AudioSample:
    """Make a second of sound that ends at ``at``, with half a second of lead-in."""
    window = AudioWindow("w", np.zeros(24000, np.float32), 8000, at - 1, at)
    job = AudioJob(window, rules or policy(), at - 1, lambda: np.zeros(round(past_s * SAMPLE_RATE_HZ), np.float32))
    return AudioSample(job, {"speech": SpeechMeasure(share, share, None, None)})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The ANSWER, please!", ("answer",)),
        ("Was war bei Frage   drei?", ("Frage drei",)),
        ("Frage drei: answer?", ("answer", "Frage drei")),
        ("He answered the question.", ()),
        ("Die Frage. Drei Leute.", ("Frage drei",)),
        ("", ()),
    ],
)
def test_keywords_are_whole_words_whatever_their_case_and_punctuation(text, found):
    assert spoken(WORDS, text) == found


@pytest.mark.parametrize(
    ("keyword", "text"),
    [("Lösung", "die LOSUNG"), ("resume", "son résumé"), ("Straße", "STRASSE"), ("ответ", "Ответ!")],
)
def test_accents_do_not_matter(keyword, text):
    assert spoken([keyword], text) == (keyword,)


def test_what_was_said_is_kept_only_where_a_keyword_is_in_it():
    kept, gone = (
        TranscriptDetector(Silero(), Ear(text)).measure([sample()])[0] for text in ("the answer is B", "my dear cat")
    )
    assert kept.to_dict() == {
        "text": "the answer is B",
        "keywords": ["answer"],
        "language": "en",
        "first_at": 15.0,
    }
    assert gone.text == ""
    assert gone.to_dict() == {"text": "", "keywords": [], "language": "en", "first_at": 15.0}


def test_ten_seconds_are_heard_and_at_a_start_what_there_is():
    ear = Ear("")
    TranscriptDetector(Silero(), ear).measure([sample(), sample(past_s=3.0), sample(past_s=0.0)])
    assert ear.lengths_s == [10.0, 4.0, 1.5]


@pytest.mark.parametrize(
    ("changes", "due"),
    [
        ({}, True),
        ({"at": 24.0}, False),
        ({"share": 0.0}, True),
        ({"rules": policy(keywords=[])}, False),
        ({"rules": policy(enabled=False)}, False),
        ({"rules": Policy()}, False),
        ({"at": 24.0, "rules": policy(interval_s=2)}, True),
    ],
)
def test_it_looks_each_interval_where_a_policy_asks_for_words(changes, due):
    assert TranscriptDetector(Silero(), Ear("")).due(sample(**changes)) is due


def test_without_a_speech_detector_nothing_is_written_down():
    alone = sample()
    alone.found.clear()
    assert not TranscriptDetector(Silero(), Ear("")).due(alone)


def test_a_remark_between_two_looks_is_heard_at_the_second():
    between, before = Ear("the answer"), Ear("the answer")
    (found,) = TranscriptDetector(Silero(2.5), between).measure([sample(share=0.0)])
    assert found.keywords == ("answer",)
    (found,) = TranscriptDetector(Silero(7.0), before).measure([sample(share=0.0)])
    assert (found.keywords, before.lengths_s) == ((), [])


def test_the_text_is_kept_with_the_incident_alone():
    measure = TranscriptDetector(Silero(), Ear("the answer is B")).measure([sample()])[0].to_dict()
    assert without_private({"transcript": measure})["transcript"] == {
        "keywords": ["answer"],
        "language": "en",
        "first_at": 15.0,
    }
    observation = Observation("w", AUDIO, 25.0, {"transcript": measure}, started_at=24.0)
    (change,) = advance(RulesState(), [observation], policy(), flush=True).changes
    assert change.measures["decision"]["transcript"]["text"] == "the answer is B"


# --- The rule


def decided(heard: dict[int, list[str]], *, until: int) -> list[Any]:
    """Return what opens and closes over windows of a second, where keywords were found at some."""
    state, changes = RulesState(), []
    for at in range(1, until + 1):
        found = {"transcript": {"text": "…", "keywords": heard[at], "first_at": at - 10.0}} if at in heard else {}
        seen = Observation(f"a{at}", AUDIO, float(at), found, started_at=at - 1.0, previous_at=at - 1.0)
        step = advance(state, [seen], policy())
        state = step.state
        changes += step.changes
    return changes


def test_a_keyword_opens_an_incident_at_once_and_again_within_ten_seconds_it_is_the_same():
    opened, closed = decided({20: ["answer"], 25: ["answer", "Frage drei"]}, until=40)
    assert (opened.event_type, opened.phase) == (EventType.KEYWORD_SPOKEN, "opened")
    assert (opened.started_at, opened.decided_at, opened.value) == (10.0, 20.0, 1.0)
    assert opened.measures["decision"]["transcript"]["text"] == "…"
    assert opened.model == "whisper-base"
    assert (closed.phase, closed.ended_at, closed.peak_value) == ("closed", 25.0, 2.0)


def test_a_keyword_much_later_is_an_incident_of_its_own():
    phases = [change.phase for change in decided({20: ["answer"], 45: ["answer"]}, until=60)]
    assert phases == ["opened", "closed", "opened", "closed"]


def test_speech_without_keywords_opens_nothing():
    assert decided({20: []}, until=40) == []


# --- The policy


def test_keywords_come_in_once_and_trimmed_and_go_out_as_a_list():
    read = policy(keywords=[" answer ", "question   three", "answer", ""])
    assert read.detectors.transcript.keywords == ("answer", "question three")
    assert read.to_dict()["detectors"]["transcript"]["keywords"] == ["answer", "question three"]
    assert Policy.from_dict(read.to_dict()) == read


@pytest.mark.parametrize("wrong", ["answer", [1], ["?!"], ["x" * 61], [f"w{number}" for number in range(51)], None])
def test_other_than_a_short_list_of_words_is_refused_by_its_path(wrong):
    with pytest.raises(PolicyError) as refused:
        policy(keywords=wrong)
    assert list(refused.value.errors) == ["detectors.transcript.keywords"]


# --- Where it is not installed


def test_its_weights_are_fetched_by_name_alone():
    groups = {load_manifest()[name].group for name in WHISPER_BASE.files.values()}
    assert groups == {"transcript"}


def test_an_installation_without_it_says_what_would_install_it(tmp_path, monkeypatch):
    monkeypatch.setenv("WEIGHTS_DIR", str(tmp_path))
    with pytest.raises(WeightsUnavailableError, match="make weights GROUP=transcript"):
        load_recogniser(WHISPER_BASE, "cpu")
    monkeypatch.setattr(recogniser, "is_fetched", lambda _name: True)
    monkeypatch.setattr(recogniser, "weights_path", lambda name: tmp_path / name)
    monkeypatch.setitem(sys.modules, "onnx_asr", None)
    monkeypatch.setitem(sys.modules, "onnx_asr.models.whisper", None)
    with pytest.raises(WeightsUnavailableError, match=r"onnx_asr.* not installed: .*requirements-transcript\.txt"):
        load_recogniser(WHISPER_BASE, "cpu")


def test_a_pipeline_keeps_optional_detectors_apart_from_broken_ones(monkeypatch):
    def away(_whisper, _device):
        raise WeightsUnavailableError("its weights are not fetched")

    monkeypatch.setattr("detection.engine.pipeline.load_recogniser", away)
    loaded = Pipeline.load(entries={"transcript": DETECTORS["transcript"]})
    assert loaded.not_installed == {"transcript": "its weights are not fetched"}
    assert loaded.unavailable == {}
    monkeypatch.setattr("detection.engine.pipeline.load_recogniser", lambda _whisper, _device: Ear("the answer"))
    loaded = Pipeline.load(entries={"transcript": DETECTORS["transcript"]})
    assert loaded.has("transcript")


@pytest.mark.parametrize(("text", "kept"), [("In " * 60, False), ("I think the answer to it is forty two.", True)])
def test_text_that_goes_round_in_circles_was_not_said(text, kept):
    assert recogniser._repeats_itself(text) is not kept
