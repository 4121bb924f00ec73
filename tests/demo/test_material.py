"""The material: moving, reproducible, and what it claims to be in the eyes and ears of the product's own models."""

from __future__ import annotations

from pathlib import Path

import av
import espeakng_loader
import numpy as np
import pytest

from demo import material, sound
from demo.camera import FRAMES_PER_SECOND, Camera, place_at
from demo.people import PEOPLE, cut_out
from demo.room import paint_room
from demo.script import CALM, EXAM, JOURNEY, Script, Utterance
from demo.voices import VoiceError, speak

SCRIPTS = [EXAM, JOURNEY, CALM]


@pytest.fixture(scope="module")
def camera(weights_dir: Path) -> Camera:
    cutouts = {letter: cut_out(person) for letter, person in PEOPLE.items()}
    return Camera(script=EXAM, room=paint_room(), cutouts=cutouts)


@pytest.fixture(scope="module")
def exam_clip(weights_dir: Path) -> Path:
    return material.clip(EXAM)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_consistent(script: Script) -> None:
    starts = [scene.start_s for scene in script.scenes]
    assert starts[0] == 0.0
    assert starts == sorted(starts)
    assert all(expected.end_s <= script.duration_s - 2 for expected in script.expected)
    assert all(letter in PEOPLE for scene in script.scenes for letter in scene.places)
    assert [expected.start_s for expected in script.expected] == sorted(each.start_s for each in script.expected)


def test_no_two_neighbouring_frames_are_alike(camera: Camera) -> None:
    for index in (30, 15 * FRAMES_PER_SECOND, 72 * FRAMES_PER_SECOND):
        one, other = camera.frame(index).astype(int), camera.frame(index + 1).astype(int)
        assert one.shape == (480, 640, 3)
        assert np.abs(one - other).mean() > 1.0


def test_the_same_moment_is_filmed_the_same_way(camera: Camera) -> None:
    assert np.array_equal(camera.frame(100), camera.frame(100))


def test_people_walk_in_and_out(camera: Camera) -> None:
    sitting = place_at(EXAM.scenes, "A", 11.9)
    leaving = place_at(EXAM.scenes, "A", 12.5)
    coming = place_at(EXAM.scenes, "A", 24.2)
    assert sitting is not None
    assert leaving is not None
    assert coming is not None
    assert sitting.x == 0.5
    assert leaving.x > 0.8
    assert coming.x < 0.2
    assert place_at(EXAM.scenes, "A", 13.0) is None


def test_the_clip_is_vp8_and_opus_with_a_key_frame_each_second(exam_clip: Path) -> None:
    with av.open(str(exam_clip)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.width, video.height) == ("vp8", 640, 480)
        assert (audio.codec_context.name, audio.rate) == ("opus", 48_000)
        keys = [float(packet.pts * packet.time_base) for packet in container.demux(video) if packet.is_keyframe]
    assert len(keys) >= EXAM.duration_s
    assert max(np.diff(keys)) <= 1.01


def test_a_clip_is_made_once(exam_clip: Path) -> None:
    made_at = exam_clip.stat().st_mtime_ns
    assert material.clip(EXAM) == exam_clip
    assert exam_clip.stat().st_mtime_ns == made_at


def test_a_failed_clip_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_dir: Path
) -> None:
    monkeypatch.setattr(material, "MATERIAL_DIR", tmp_path)
    mute = Script(name="mute", duration_s=2.0, scenes=CALM.scenes, utterances=(Utterance(0.5, 1.5, "xx/none", "?"),))
    with pytest.raises(VoiceError, match="no voice 'xx/none'"):
        material.clip(mute)
    assert list(tmp_path.iterdir()) == []


def test_the_room_is_never_digitally_silent() -> None:
    samples = sound.record(CALM)
    windows = samples[: len(samples) // sound.SAMPLE_RATE * sound.SAMPLE_RATE].reshape(-1, sound.SAMPLE_RATE // 10)
    levels = 20 * np.log10(np.sqrt(np.mean(windows**2, axis=1)))
    assert len(levels) >= 100
    assert levels.min() > -63
    assert levels.max() < -50


def test_speech_is_heard_from_beginning_to_end_of_an_utterance() -> None:
    samples = sound.record(JOURNEY)
    utterance = JOURNEY.utterances[0]

    def level(start_s: float, end_s: float) -> float:
        part = samples[round(start_s * sound.SAMPLE_RATE) : round(end_s * sound.SAMPLE_RATE)]
        return float(20 * np.log10(np.sqrt(np.mean(part**2))))

    assert level(utterance.start_s, utterance.end_s) > -32
    assert level(utterance.start_s, utterance.start_s + 0.5) > -40
    assert level(utterance.end_s + 0.6, utterance.end_s + 2) < -50


def test_voices_are_found_below_a_long_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("long" * 50)
    deep.symlink_to(espeakng_loader.get_data_path(), target_is_directory=True)
    monkeypatch.setattr(espeakng_loader, "get_data_path", lambda: str(deep))
    samples, rate = speak("Number nine is false.", voice="gmw/en")
    assert len(samples) > rate


def test_two_voices_differ() -> None:
    one, rate = speak("Number nine is false.", voice="gmw/en")
    other, _ = speak("Number nine is false.", voice="gmw/en-US+f2")
    assert rate >= 16_000
    assert min(len(one), len(other)) > rate
    assert not np.array_equal(one[:rate], other[:rate])


def test_the_same_is_said_alike_each_time() -> None:
    first, _ = speak("Number nine is false.", voice="gmw/en")
    speak("Something else in between.", voice="gmw/en-US+f2")
    again, _ = speak("Number nine is false.", voice="gmw/en")
    assert np.array_equal(first, again)
