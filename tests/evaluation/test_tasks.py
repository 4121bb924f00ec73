"""Each task on a small set of its layout: with the real pipeline where the figures are known, else with a stand-in."""

from __future__ import annotations

import json
import wave
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import pytest

from detection.engine.observations import AUDIO, VIDEO, Observation
from detection.engine.policy import EventType
from detection.engine.silero import CHUNK_S
from detection.evaluation.__main__ import main
from detection.evaluation.layout import LayoutError
from detection.evaluation.product import NotInThisBuildError, Product
from detection.evaluation.tasks import TASKS


@dataclass
class Scripted:
    """A pipeline that sees in a picture what ``look`` says, and hears silence."""

    look: Any
    names: tuple[str, ...]
    unavailable: dict[str, str] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        return name in self.names

    def analyse_frames(self, jobs) -> list[Observation]:
        return [
            Observation(job.frame.frame_id, VIDEO, job.frame.captured_at, self.look(job.frame.image)) for job in jobs
        ]

    def analyse_audio(self, jobs) -> list[Observation]:
        return [
            Observation(job.window.window_id, AUDIO, job.window.ended_at, {}, started_at=job.window.started_at)
            for job in jobs
        ]


def scripted(look, *names: str) -> Product:
    return Product(Scripted(look, names))


def value(report, name: str) -> float | None:
    return report.to_dict()["figures"][name]["value"]


def grey(directory, name: str, level: int) -> None:
    assert cv2.imwrite(str(directory / name), np.full((32, 32, 3), level, np.uint8))


# --- What all have in common


@pytest.mark.parametrize(
    ("task", "labels"),
    [
        ("faces", "pairs.csv"),
        ("head-pose", "labels.csv"),
        ("gaze", "clips.csv"),
        ("speech", "segments.csv"),
        ("voices", "pairs.csv"),
        ("attack", "labels.csv"),
        ("objects", "labels.csv"),
        ("exam", "exam.csv"),
    ],
)
def test_missing_labels_are_a_bad_layout(tmp_path, task, labels):
    everything = Product(
        Scripted(
            lambda _: {},
            ("faces", "identity", "head_pose", "gaze", "speech", "speakers", "voice", "liveness", "objects"),
        )
    )
    with pytest.raises(LayoutError, match=f"{labels}:0: is missing"):
        TASKS[task](everything, tmp_path)


def test_a_detector_that_this_build_lacks_is_named(tmp_path):
    (tmp_path / "labels.csv").write_text("image,pitch_deg,yaw_deg,roll_deg\n")
    with pytest.raises(NotInThisBuildError, match="This build has no head_pose detector"):
        TASKS["head-pose"](scripted(lambda _: {}, "faces"), tmp_path)


def test_a_detector_without_weights_is_named_with_the_reason(tmp_path):
    product = Product(Scripted(lambda _: {}, (), {"faces": "yunet is missing"}))
    with pytest.raises(NotInThisBuildError, match="faces is switched off: yunet is missing"):
        TASKS["head-pose"](product, tmp_path)


# --- Head pose


def pose_of(image) -> dict[str, Any]:
    """A picture's grey value is its yaw; black has no face."""
    level = float(image.mean())
    return {"head_pose": {"pitch_deg": 1.0, "yaw_deg": level, "roll_deg": -179.0}} if level else {}


def test_head_pose_errors_are_means_of_absolute_differences(tmp_path):
    for name, level in (("a.png", 10), ("b.png", 60), ("none.png", 0)):
        grey(tmp_path, name, level)
    (tmp_path / "broken.png").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text(
        "image,pitch_deg,yaw_deg,roll_deg\na.png,4,8,179\nb.png,-2,66,-179\nnone.png,0,0,0\nbroken.png,0,0,0\n"
    )
    report = TASKS["head-pose"](scripted(pose_of, "faces", "head_pose"), tmp_path)
    assert report.n == 3
    assert value(report, "mae_pitch") == pytest.approx(3)
    assert value(report, "mae_yaw") == pytest.approx(4)
    assert value(report, "mae_roll") == pytest.approx(1)  # -179 and 179 are two degrees apart
    assert value(report, "mae_mean") == pytest.approx(8 / 3)
    assert value(report, "mae_mean_45") == pytest.approx(7 / 3)
    assert value(report, "not_found") == pytest.approx(1 / 3, abs=1e-6)
    assert value(report, "skipped") == 1
    assert [skipped.path for skipped in report.skipped] == ["broken.png"]


def test_figures_that_nothing_can_be_said_about_are_null(tmp_path):
    grey(tmp_path, "none.png", 0)
    (tmp_path / "labels.csv").write_text("image,pitch_deg,yaw_deg,roll_deg\nnone.png,0,0,0\n")
    figures = TASKS["head-pose"](scripted(pose_of, "faces", "head_pose"), tmp_path).to_dict()["figures"]
    assert figures["mae_mean"]["value"] is None
    assert figures["mae_mean"]["n"] == 0
    assert (figures["not_found"]["value"], figures["not_found"]["low"]) == (1, None)


def test_groups_have_figures_of_their_own(tmp_path):
    for name, level in (("a.png", 10), ("b.png", 60), ("c.png", 20), ("none.png", 0)):
        grey(tmp_path, name, level)
    (tmp_path / "labels.csv").write_text(
        "image,pitch_deg,yaw_deg,roll_deg,group\na.png,1,8,-179,young\nb.png,1,66,-179,old\nc.png,1,30,-179,\n"
        "none.png,0,0,0,old\n"
    )
    report = TASKS["head-pose"](scripted(pose_of, "faces", "head_pose"), tmp_path)
    groups = report.to_dict()["groups"]
    assert {name: figures["mae_yaw"]["value"] for name, figures in groups.items()} == {"young": 2, "old": 6}
    assert (groups["old"]["not_found"]["value"], groups["old"]["not_found"]["n"]) == (0.5, 2)
    assert value(report, "mae_yaw") == pytest.approx((2 + 6 + 10) / 3, abs=1e-6)
    assert "group old:" in report.to_text()


# --- Objects


def things_in(image) -> dict[str, Any]:
    level = float(image.mean())
    found = [{"kind": "person", "score": 0.99, "box_xyxy": [0, 0, 9, 9]}]
    if level > 100:
        found.append({"kind": "phone", "score": level / 255, "box_xyxy": [0, 0, 9, 9]})
    return {"objects": {"found": found}}


def test_objects_are_scored_by_kind(tmp_path):
    for name, level in (("sure.png", 250), ("also.png", 240), ("none.png", 0), ("false.png", 230)):
        grey(tmp_path, name, level)
    (tmp_path / "labels.csv").write_text(
        "image,objects\nsure.png,cell phone\nalso.png,phone;book\nnone.png,Phone\nfalse.png,\n"
    )
    report = TASKS["objects"](scripted(things_in, "faces", "objects"), tmp_path)
    assert value(report, "precision_phone") == pytest.approx(2 / 3)
    assert value(report, "recall_phone") == pytest.approx(2 / 3)
    assert value(report, "recall_book") == 0
    assert value(report, "recall") == pytest.approx(2 / 4)
    assert "precision_person" not in report.figures  # nobody labelled people


def test_things_that_are_not_looked_for_are_named_and_counted(tmp_path, capsys):
    grey(tmp_path, "a.png", 250)
    (tmp_path / "labels.csv").write_text("image,objects\na.png,Smart_Phones\na.png,phones;headphones;second_screen\n")
    report = TASKS["objects"](scripted(things_in, "faces", "objects"), tmp_path)
    assert value(report, "not_looked_for") == 2
    assert "headphones (1), smart phone" in capsys.readouterr().err
    assert (value(report, "recall_phone"), value(report, "recall_screen")) == (1, 0)
    assert "recall_headphones" not in report.figures


# --- Faces


def test_faces_pairs_with_the_real_pipeline(product, photo, tmp_path):
    for name in ("a_1", "a_2", "b_1", "b_2", "c_1"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), photo(name))
    cv2.imwrite(str(tmp_path / "dark.png"), (photo("a_2") * 0.07).astype(np.uint8))
    grey(tmp_path, "nobody.png", 90)
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "pairs.csv").write_text(
        "first,second,same\na_1.png,a_2.png,1\nb_1.png,b_2.png,1\na_1.png,b_1.png,0\na_2.png,c_1.png,0\n"
        "b_2.png,c_1.png,0\na_1.png,dark.png,1\na_1.png,nobody.png,1\na_1.png,torn.jpg,0\n"
    )
    report = TASKS["faces"](product, tmp_path)
    assert report.n == 7
    assert [value(report, name) for name in ("auc", "fnmr", "fmr", "eer")] == [1, 0, 0, 0]
    assert value(report, "d_prime") > 3
    assert value(report, "not_found") == pytest.approx(1 / 7, abs=1e-6)
    assert value(report, "undecided") == 0  # in the dark one there is enough to see that it is A
    assert report.figures["auc"].n == 6
    assert report.figures["fnmr"].n == 3
    assert not any(name.startswith("fnmr_at_fmr") for name in report.figures)  # three impostors resolve nothing
    assert value(report, "skipped") == 1


# --- Speech


class Ear:
    """A speech detector that hears speech wherever there is sound."""

    def measure(self, samples):
        from detection.engine.observations import SpeechMeasure

        measures = []
        for sample in samples:
            window = sample.job.window
            sound = window.samples[window.lead_in_samples :]
            chunks = np.array_split(np.abs(sound), round(len(sound) / 16_000 / CHUNK_S))
            measures.append(SpeechMeasure(0, 0, None, None, tuple(float(chunk.max()) for chunk in chunks)))
        return measures


class WithEar(Scripted):
    def detector(self, name: str) -> Ear:
        return Ear()


def test_speech_frames_follow_the_time_line(tmp_path, write_clip):
    sound = np.zeros(16_000 * 5, np.float32)
    sound[16_000 * 1 : 16_000 * 2] = 0.9
    sound[round(16_000 * 3.4) : 16_000 * 4] = 0.9
    write_clip("a.mkv", [], sound)
    write_clip("silent.mkv", [], np.zeros(32_000, np.float32))
    (tmp_path / "none.wav").write_bytes(b"RIFF")
    (tmp_path / "segments.csv").write_text("audio,start_s,end_s\na.mkv,1,2\na.mkv,3.4,4\nsilent.mkv,,\nnone.wav,0,1\n")
    report = TASKS["speech"](Product(WithEar(lambda _: {}, ("speech",))), tmp_path)
    assert report.n == pytest.approx(7 / 0.03, abs=2)
    assert value(report, "f1") > 0.95
    assert value(report, "auc") > 0.97
    assert value(report, "speech_share") == pytest.approx(1.6 / 7, abs=0.01)
    assert value(report, "skipped") == 1


# --- Gaze


def test_gaze_counts_frames_windows_and_false_episodes(tmp_path, write_clip, monkeypatch):
    from detection.evaluation.incidents import Span
    from detection.evaluation.tasks import gaze

    def read_off(product, path, **_):
        from detection.evaluation.product import Watched

        seen = [
            Observation(f"f{i}", VIDEO, 1_700_000_000.0 + i / 2, {"gaze_line": {"direction": said}} if said else {})
            for i, said in enumerate(["center"] * 10 + ["left"] * 6 + ["down", None] + ["center"] * 42)
        ]
        return Watched([], seen, 30.0, 60)

    found = [Span(5.0, 8.0, "GAZE_OFF_SCREEN"), Span(20.0, 22.0, "GAZE_OFF_SCREEN"), Span(29.0, 30.0, "NO_FACE")]
    monkeypatch.setattr(gaze, "watch", read_off)
    monkeypatch.setattr(gaze, "opened", lambda _: found)
    monkeypatch.setattr(gaze, "_events", lambda: ["GAZE_OFF_SCREEN"])
    (tmp_path / "c.mkv").write_bytes(b"-")
    (tmp_path / "clips.csv").write_text(
        "video,start_s,end_s,direction\nc.mkv,0,5,center\nc.mkv,5,9,left\nc.mkv,10,12,right\nc.mkv,12,30,center\n"
    )
    report = TASKS["gaze"](scripted(lambda _: {}, "faces", "gaze"), tmp_path)
    assert report.n == 10 + 8 + 4 + 36
    assert value(report, "balanced_accuracy") == pytest.approx((1 + 6 / 7 + 0) / 3)
    assert value(report, "balanced_accuracy_away") == pytest.approx((1 + 7 / 11) / 2)
    assert value(report, "windows_found") == 0.5
    assert value(report, "false") == 1
    assert value(report, "clean_hours") == pytest.approx(23 / 3600, abs=1e-6)
    assert value(report, "false_per_hour") == pytest.approx(3600 / 23, abs=1e-3)
    assert value(report, "undecided") == pytest.approx(1 / 58, abs=1e-6)
    assert report.misses == ["missed in c.mkv: right 10.0-12.0 s"]


@pytest.mark.parametrize("row", ["c.mkv,0,5,north", "c.mkv,5,5,left", "c.mkv,a,5,left", "d.mkv,0,5,left"])
def test_a_bad_gaze_label_is_told(tmp_path, row):
    (tmp_path / "c.mkv").write_bytes(b"-")
    (tmp_path / "clips.csv").write_text(f"video,start_s,end_s,direction\n{row}\n")
    with pytest.raises(LayoutError, match=r"clips\.csv:2: "):
        TASKS["gaze"](scripted(lambda _: {}, "faces", "gaze"), tmp_path)


# --- Exams


def test_an_exam_runs_through_pipeline_and_rules(product, photo, write_clip, tmp_path):
    mine = cv2.resize(photo("a_2"), (640, 480))
    away = np.full_like(mine, 120)
    noise = np.random.default_rng(2).normal(0, 0.002, 16_000 * 16).astype(np.float32)
    write_clip("exam.mkv", [mine] * 50 + [away] * 60 + [mine] * 50, noise)
    write_clip("calm.mkv", [mine] * 50)
    cv2.imwrite(str(tmp_path / "ref.png"), photo("a_1"))
    (tmp_path / "torn.mkv").write_bytes(b"-")
    (tmp_path / "exam.csv").write_text(
        "media,reference,event_type,start_s,end_s,subject\nexam.mkv,ref.png,NO_FACE,5,11,a\n"
        "exam.mkv,ref.png,FACE_MISMATCH,2,3,a\ncalm.mkv,ref.png,,,,b\ntorn.mkv,ref.png,NO_FACE,0,1,c\n"
    )
    report = TASKS["exam"](quiet(product), tmp_path)
    assert report.n == 2
    assert value(report, "found_share_NO_FACE") == 1
    assert value(report, "found_share_FACE_MISMATCH") == 0
    assert (value(report, "found_share"), value(report, "missed"), value(report, "false")) == (0.5, 1, 0)
    assert value(report, "delay_s") == pytest.approx(3.0, abs=0.6)
    assert value(report, "hours") == pytest.approx((16 + 4.5) / 3600, abs=2e-4)
    assert value(report, "skipped") == 1
    assert value(report, "references_refused") == 0
    assert any(remark.startswith("Nothing false in 0.005") for remark in report.remarks)
    assert report.misses == ["missed in exam.mkv: FACE_MISMATCH 2.0-3.0 s"]


def quiet(product: Product) -> Product:
    """The product with the four detectors of the rules at hand: a still photograph is rightly called one."""
    return product.only("faces", "identity", "speech", "level")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("c.mkv,r.png,SNEEZED,0,1", "'event_type' must be one of"),
        ("c.mkv,r.png,NO_FACE,,", "'start_s' is empty"),
        ("c.mkv,r.png,,0,1", "'event_type' is empty"),
        ("c.mkv,r.png,NO_FACE,0,1\nc.mkv,,NO_FACE,3,4", "another reference"),
    ],
)
def test_a_bad_exam_row_is_told(tmp_path, rows, words):
    (tmp_path / "c.mkv").write_bytes(b"-")
    (tmp_path / "r.png").write_bytes(b"-")
    (tmp_path / "exam.csv").write_text(f"media,reference,event_type,start_s,end_s\n{rows}\n")
    with pytest.raises(LayoutError, match=words):
        TASKS["exam"](scripted(lambda _: {}, "faces", "identity"), tmp_path)


# --- The command


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def pairs(photo, tmp_path):
    """A directory with two photographs of A and one of C."""
    for name in ("a_1", "a_2", "c_1"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), photo(name))
    (tmp_path / "pairs.csv").write_text("first,second,same\na_1.png,a_2.png,1\na_1.png,c_1.png,0\n")
    return tmp_path


def test_json_has_the_figures_with_their_intervals(capsys, pairs):
    code, out, _ = run(capsys, "faces", pairs, "--json")
    document = json.loads(out)
    assert code == 0
    assert set(document) == {"task", "n", "figures"}
    assert (document["task"], document["n"]) == ("faces", 2)
    assert {"auc", "fnmr", "fmr", "d_prime", "not_found", "undecided", "skipped"} <= set(document["figures"])
    assert all({"value", "low", "high", "n"} <= set(figure) for figure in document["figures"].values())


def test_faces_of_a_group_are_scored_apart(capsys, pairs):
    (pairs / "pairs.csv").write_text("first,second,same,group\na_1.png,a_2.png,1,x\na_1.png,c_1.png,0,y\n")
    code, out, _ = run(capsys, "faces", pairs, "--json")
    groups = json.loads(out)["groups"]
    assert code == 0
    assert (groups["x"]["fnmr"]["value"], groups["x"]["fnmr"]["n"], groups["x"]["fmr"]["value"]) == (0, 1, None)
    assert (groups["y"]["fmr"]["value"], groups["y"]["not_found"]["n"]) == (0, 2)


def test_a_table_for_people_names_n_and_what_nought_of_few_means(capsys, pairs):
    code, out, _ = run(capsys, "faces", pairs)
    assert code == 0
    assert "faces: 2 items" in out
    assert "none seen: up to 1 is compatible" in out


def test_a_bad_layout_ends_with_2_and_the_offending_line(capsys, pairs):
    (pairs / "pairs.csv").write_text("first,second,same\na_1.png,a_2.png,perhaps\n")
    code, out, error = run(capsys, "faces", pairs)
    assert (code, out) == (2, "")
    assert error == ("evaluation: pairs.csv:2: 'same' must be 1 or 0, not 'perhaps'\n  a_1.png,a_2.png,perhaps\n")


@pytest.mark.parametrize("text", ["{", '{"rules": {"NO_FACE": {"hold_s": -1}}}'])
def test_a_bad_policy_ends_with_2(capsys, pairs, text):
    (pairs / "policy.json").write_text(text)
    code, _, error = run(capsys, "faces", pairs, "--policy", pairs / "policy.json")
    assert code == 2
    assert error.startswith("evaluation: ")


def test_the_policys_threshold_is_the_operating_point(capsys, pairs):
    (pairs / "policy.json").write_text('{"rules": {"FACE_MISMATCH": {"enter": 0.9999, "exit": 0.9999}}}')
    _, out, _ = run(capsys, "faces", pairs, "--policy", pairs / "policy.json", "--json")
    assert json.loads(out)["figures"]["fnmr"]["value"] == 1
    assert json.loads(out)["figures"]["auc"]["value"] == 1


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("DETECTOR_MODELS", "nose=x", "evaluation: DETECTOR_MODELS, nose=x: there is no detector of that name"),
        ("MODEL_DEVICE", "abacus", "evaluation: MODEL_DEVICE must be one of cpu, cuda, not 'abacus'."),
    ],
)
def test_a_choice_that_cannot_be_ends_with_3(capsys, tmp_path, monkeypatch, setting, value, sentence):
    monkeypatch.setenv(setting, value)
    code, out, err = run(capsys, "faces", tmp_path)
    assert (code, out) == (3, "")
    assert err.startswith(sentence)
    assert err.count("\n") == 1


def test_a_missing_detector_ends_with_3(capsys, tmp_path, monkeypatch, weights_dir):
    monkeypatch.setattr(Product, "load", lambda *_, **__: scripted(lambda _: {}, "faces"))
    code, _, error = run(capsys, "objects", tmp_path)
    assert (code, error) == (3, "evaluation: This build has no objects detector.\n")


# --- Speakers and voices


@dataclass
class Meeting:
    """What a speakers detector says of a whole recording."""

    overlap_per_second: np.ndarray
    speakers: int


class WithMeetings(Scripted):
    """Says of a recording with a loud start that two people talk in its first second; knows a voice by its loudness."""

    def detector(self, name: str) -> WithMeetings:
        return self

    def timeline(self, sound, compare=None) -> Meeting:
        shares = np.zeros(-(-len(sound) // 16_000))
        shares[0] = 0.5 * (np.abs(sound[:1000]).max() > 0.5)
        return Meeting(shares, 2 if shares.any() else 1)

    def compare(self, first, second) -> float:
        return 0.0

    def embed(self, sound) -> np.ndarray | None:
        level = float(np.abs(sound).max())
        return np.array([level, (1 - level**2) ** 0.5], np.float32) if level else None


def tone(path, level: float, seconds: float = 3.0) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.full(round(16_000 * seconds), int(level * 32767), "<i2").tobytes())


def test_speakers_are_scored_per_second_and_per_recording(tmp_path):
    turn = "SPEAKER x 1 {} {} <NA> <NA> {} <NA> <NA>\n"
    for name, level, turns in (
        ("both", 0.9, turn.format(0, 1, "a") + turn.format(0.5, 2, "b") + turn.format(2.2, 0.5, "a")),
        ("one", 0.1, turn.format(0, 3, "a")),
        ("wrong", 0.9, turn.format(0, 3, "a")),
    ):
        tone(tmp_path / f"{name}.wav", level)
        (tmp_path / f"{name}.rttm").write_text(turns)
    (tmp_path / "torn.wav").write_bytes(b"RIFF")
    (tmp_path / "torn.rttm").write_text(turn.format(0, 1, "a"))
    report = TASKS["speakers"](Product(WithMeetings(lambda _: {}, ("speakers", "voice"))), tmp_path)
    assert report.n == 3
    assert value(report, "overlap_precision") == 0.5
    assert value(report, "overlap_recall") == 0.5
    assert value(report, "two_speakers_f1") == pytest.approx(2 / 3, abs=1e-6)
    assert value(report, "skipped") == 1


def test_voices_are_compared_in_pairs(tmp_path):
    for name, level in (("a1", 0.90), ("a2", 0.88), ("b1", 0.2), ("b2", 0.25), ("mute", 0.0)):
        tone(tmp_path / f"{name}.wav", level)
    (tmp_path / "pairs.csv").write_text(
        "first,second,same\na1.wav,a2.wav,1\nb1.wav,b2.wav,1\na1.wav,b1.wav,0\na2.wav,b2.wav,0\na1.wav,mute.wav,0\n"
    )
    report = TASKS["voices"](Product(WithMeetings(lambda _: {}, ("voice",))), tmp_path)
    assert report.n == 4
    assert (value(report, "eer"), value(report, "auc")) == (0, 1)
    assert [skipped.path for skipped in report.skipped] == ["mute.wav"]


def test_a_pair_across_groups_counts_in_none(tmp_path):
    for name, level in (("a1", 0.90), ("a2", 0.88), ("b1", 0.2), ("b2", 0.25)):
        tone(tmp_path / f"{name}.wav", level)
    (tmp_path / "pairs.csv").write_text(
        "first,second,same,first_group,second_group\na1.wav,a2.wav,1,low,low\nb1.wav,b2.wav,1,high,high\n"
        "a1.wav,b1.wav,0,low,high\na2.wav,b2.wav,0,low,low\n"
    )
    groups = TASKS["voices"](Product(WithMeetings(lambda _: {}, ("voice",))), tmp_path).groups
    assert {name: figures["auc"].n for name, figures in groups.items()} == {"low": 2, "high": 1}
    assert groups["high"]["auc"].interval.value is None


# --- Attacks


def face_of(image) -> dict[str, Any]:
    """A picture's grey value tells how live it looks; black has no face, white cannot be judged."""
    level = float(image.mean())
    return {"liveness": {"live": level / 200, "decided": level < 250}} if level else {}


def test_stills_are_judged_by_their_look(tmp_path):
    for name, level in (("live.png", 190), ("print.png", 20), ("good.png", 180), ("none.png", 0), ("glare.png", 255)):
        grey(tmp_path, name, level)
    (tmp_path / "torn.png").write_bytes(b"x")
    (tmp_path / "labels.csv").write_text(
        "image_or_video,live\nlive.png,1\nprint.png,0\ngood.png,0\nnone.png,1\nglare.png,1\ntorn.png,0\n"
    )
    report = attack_report(tmp_path)
    assert report.n == 5
    assert (value(report, "apcer"), value(report, "bpcer"), value(report, "undecided")) == (0.5, 0, 0.4)
    assert value(report, "skipped") == 1


def test_a_short_video_is_judged_by_the_mean_of_its_looks(tmp_path, write_clip):
    write_clip("live.mkv", [np.full((32, 32, 3), level, np.uint8) for level in [180] * 15 + [90] * 5])
    write_clip("screen.mkv", [np.full((32, 32, 3), 40, np.uint8)] * 20)
    (tmp_path / "labels.csv").write_text("image_or_video,live\nlive.mkv,1\nscreen.mkv,0\n")
    report = attack_report(tmp_path)
    assert (value(report, "apcer"), value(report, "bpcer"), report.n) == (0, 0, 2)


def attack_report(directory):
    """Measure with a stand-in; a build without the rule cannot."""
    product = scripted(face_of, "faces", "liveness")
    if "PRESENTATION_ATTACK" not in EventType.__members__:
        with pytest.raises(NotInThisBuildError):
            TASKS["attack"](product, directory)
        pytest.skip("this build has no PRESENTATION_ATTACK yet")
    return TASKS["attack"](product, directory)
