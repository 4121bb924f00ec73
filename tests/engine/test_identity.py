"""Comparing faces: people are told apart across years, and a poor probe accuses nobody."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import cv2
import numpy as np
import pytest

from detection.engine import geometry
from detection.engine.detectors import identity
from detection.engine.detectors.identity import FaceEmbedder, best, compare, judge_probes
from detection.engine.likeness import similarity
from detection.engine.media import decode_frame
from detection.engine.observations import FacesMeasure, IdentityMeasure
from detection.engine.policy import Policy
from detection.engine.samples import VideoSample
from tests.engine.scenes import blurred, jpeg, lit, moved, noisy, room

NAMES = ["a_1", "a_2", "b_1", "b_2", "c_1", "d_1"]
PAIRS = list(combinations(NAMES, 2))


@pytest.fixture(scope="module")
def embeddings(pipeline, photo):
    """Return each photograph's embedding by name."""
    found = {}
    for name in NAMES:
        image = photo(name)
        found[name] = pipeline.embedder.embed(image, pipeline.faces.detect(image)[0])
    return found


@pytest.fixture(scope="module")
def of_width(pipeline, photo):
    """Return a function from a name and a width to the photograph scaled so that the face has that width."""

    def scaled(name: str, width_px: float):
        image = photo(name)
        factor = width_px / pipeline.faces.detect(image)[0].width_px
        way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        return cv2.resize(image, None, fx=factor, fy=factor, interpolation=way)

    return scaled


@pytest.fixture(scope="module")
def measured(pipeline, frame_job):
    """Return a function from a picture and a template to the identity measure."""

    def measure(picture, template, policy=None):
        sample = VideoSample(frame_job(picture, template=template, policy=policy or Policy(), attentive=True))
        (sample.found["faces"],) = pipeline.faces.measure([sample])
        assert pipeline.embedder.due(sample)
        return pipeline.embedder.measure([sample])[0]

    return measure


# --- The scale


def test_the_operating_point_is_the_default_threshold():
    assert similarity(0.363) == pytest.approx(0.75)
    assert similarity(0.0) == pytest.approx(0.02)


def test_similarity_orders_as_the_comparison_score_does_and_stays_within_0_and_1():
    values = [similarity(score) for score in np.linspace(-1, 1, 401)]
    assert values == sorted(values)
    assert len(set(values)) == 401
    assert values[0] > 0
    assert values[-1] < 1


# --- People


def test_an_embedding_is_a_direction(embeddings):
    for embedding in embeddings.values():
        assert (embedding.shape, embedding.dtype) == ((128,), np.float32)
        assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_one_person_matches_across_years_and_two_do_not(embeddings, first, second):
    measure = compare(embeddings[first], embeddings[second])
    if first[0] == second[0]:
        assert measure.similarity > 0.95
        assert measure.comparison_score > 0.55
    else:
        assert measure.similarity < 0.5
        assert measure.comparison_score < 0.3


def test_it_agrees_with_opencv(pipeline, photo, embeddings, weights_dir):
    reference = cv2.FaceRecognizerSF.create(str(weights_dir / "face_recognition_sface_2021dec.onnx"), "")
    for name in NAMES:
        image = photo(name)
        face = pipeline.faces.detect(image)[0]
        row = np.array([[*face.box_xyxy, *face.landmarks.ravel(), face.score]], np.float32)
        expected = reference.feature(reference.alignCrop(image, row))[0]
        assert float(expected @ embeddings[name]) / np.linalg.norm(expected) > 0.9999


def test_a_template_of_another_model_is_refused(embeddings):
    with pytest.raises(ValueError, match=r"shape \(512,\)"):
        compare(embeddings["a_1"], np.zeros(512, np.float32))


# --- In the picture


def test_the_candidate_at_the_webcam_matches(measured, photo, embeddings, of_width):
    frame = decode_frame(jpeg(room((of_width("a_2", 140), 1, 150, 60))))
    measure = measured(frame, embeddings["a_1"])
    assert measure.decided
    assert measure.similarity > 0.95
    assert measure.model == "sface-2021dec"
    assert measure.quality.width_px == pytest.approx(140, rel=0.1)


def test_another_person_at_the_webcam_does_not(measured, embeddings, of_width):
    frame = decode_frame(jpeg(room((of_width("c_1", 140), 1, 150, 60))))
    measure = measured(frame, embeddings["a_1"])
    assert measure.decided
    assert measure.similarity < 0.5


def test_a_companion_never_speaks_for_the_candidate(measured, embeddings, of_width):
    """Whoever is larger: with the candidate in the picture it is no mismatch."""
    beside = decode_frame(jpeg(room((of_width("c_1", 150), 1, 0, 20), (of_width("a_2", 90), 1, 420, 60))))
    measure = measured(beside, embeddings["a_1"])
    assert measure.decided
    assert measure.similarity > 0.95
    strangers = decode_frame(jpeg(room((of_width("c_1", 150), 1, 0, 20), (of_width("b_2", 90), 1, 420, 60))))
    measure = measured(strangers, embeddings["a_1"])
    assert measure.decided
    assert measure.similarity < 0.5


def test_a_stranger_beside_a_face_too_poor_to_judge_is_undecided(measured, embeddings, of_width):
    strict = Policy.from_dict({"detectors": {"identity": {"min_face_px": 60}}})
    small = decode_frame(jpeg(room((of_width("c_1", 150), 1, 0, 20), (of_width("b_2", 50), 1, 500, 200))))
    assert measured(small, embeddings["a_1"]).decided
    measure = measured(small, embeddings["a_1"], strict)
    assert (measure.decided, measure.reason) == (False, "face_too_small")


def test_the_best_of_several_faces():
    def seen(score, *, decided=True):
        return IdentityMeasure(score, similarity(score), decided, "" if decided else "blurred")

    assert best([seen(0.1), seen(0.6)], Policy()) == seen(0.6)
    assert best([seen(0.1), seen(0.2)], Policy()) == seen(0.2)
    assert best([seen(0.6), seen(0.7, decided=False)], Policy()) == seen(0.6)
    assert best([seen(0.1), seen(0.05, decided=False)], Policy()) == seen(0.05, decided=False)
    assert best([seen(0.1, decided=False), seen(0.3, decided=False)], Policy()) == seen(0.3, decided=False)


# --- A poor probe


def spoilt(image, width_px):
    """The picture made worse in many ways and degrees; blur and motion relative to the face's width."""
    relative = width_px / 140
    yield from ((f"blur {s}", blurred(image, s * relative)) for s in (1, 2, 3, 4, 5, 6, 8))
    yield from ((f"noisy blur {s}", noisy(blurred(image, s * relative), 6)) for s in (3, 4, 6))
    for pixels in (9, 17, 25, 35):
        for down in (False, True):
            yield f"motion {pixels}", moved(image, max(3, int(pixels * relative) | 1), down=down)
    yield from ((f"dark {f}", noisy(lit(image, f), 3)) for f in (0.5, 0.3, 0.2, 0.12, 0.08, 0.05))
    yield from ((f"glare {f}", lit(image, f)) for f in (1.5, 2, 3, 4))
    yield from ((f"noise {d}", noisy(image, d)) for d in (10, 20, 30, 40))


@pytest.fixture(scope="module")
def decisions(pipeline, embeddings, of_width):
    """Return a function that counts how many poor pictures show a face, match a template, and do not."""

    def count(probe: str, template: str, width_px: float) -> tuple[int, int, int]:
        found = []
        for _, picture in spoilt(of_width(probe, width_px), width_px):
            frame = decode_frame(jpeg(picture))
            faces = [(frame, face) for face in pipeline.faces.detect(frame) if face.score >= 0.6]
            if faces:
                found.append(judge_probes(pipeline.embedder.probe(faces[:1]), embeddings[template], Policy()))
        decided = [measure.similarity >= 0.75 for measure in found if measure.decided]
        return len(found), sum(decided), len(decided) - sum(decided)

    return count


@pytest.mark.parametrize(("probe", "template", "width_px"), [("a_2", "a_1", 60), ("b_1", "b_2", 30)])
def test_poor_pictures_of_the_candidate_mostly_match_and_rarely_do_not(decisions, probe, template, width_px):
    count, matches, mismatches = decisions(probe, template, width_px)
    assert count >= 28
    assert matches >= 0.7 * count
    assert mismatches <= 3  # smears of a fifth of the face's width; IdentityPool leaves them out


@pytest.mark.parametrize(("probe", "template", "width_px"), [("a_2", "c_1", 60), ("b_1", "d_1", 30)])
def test_poor_pictures_of_another_person_never_match(decisions, probe, template, width_px):
    count, matches, mismatches = decisions(probe, template, width_px)
    assert count >= 28
    assert matches == 0
    assert mismatches >= 0.7 * count


def test_looking_again_at_dark_noisy_faces_brings_them_nearer_to_the_person(pipeline, embeddings, of_width):
    def likeness_of(vector, name):
        return float(vector @ embeddings[name]) / float(np.linalg.norm(vector))

    gains = []
    for probe, template in [("a_1", "a_2"), ("a_2", "a_1"), ("b_1", "b_2"), ("b_2", "b_1")]:
        for light in (0.2, 0.25, 0.3):
            picture = noisy(lit(room((of_width(probe, 60), 1, 150, 60)), light), 12)
            face = pipeline.faces.detect(picture)[0]
            (again,) = pipeline.embedder.probe([(picture, face)])
            crop = geometry.align(picture, face.landmarks)[None, ..., ::-1].transpose(0, 3, 1, 2)
            plain = pipeline.embedder.models[0].run({"data": np.ascontiguousarray(crop, np.float32)})[0][0]
            gains.append(likeness_of(again.embedding, template) - likeness_of(plain, template))
    assert len(gains) == 12
    assert np.mean(gains) > 0.05


def test_a_clear_face_costs_one_run(pipeline, photo):
    counting = Counting(pipeline.embedder.models[0])
    embedder = FaceEmbedder(counting, pipeline.embedder.models[1])
    image = photo("a_1")
    face = pipeline.faces.detect(image)[0]
    (probe,) = embedder.probe([(image, face)])
    assert probe.clarity > 0.7
    assert counting.sizes == [1]
    embedder.probe([(blurred(image, 25), face)])
    assert counting.sizes == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("width_px", "worse", "reason"),
    [
        (10, lambda image: image, "face_too_small"),
        (140, lambda image: lit(image, 0.03), "dark"),
        (140, lambda image: blurred(image, 11), "blurred"),
        (140, lambda image: noisy(image, 110), "blurred"),
    ],
)
def test_a_poor_probe_of_somebody_else_is_undecided_and_says_why(
    pipeline, frame_job, embeddings, of_width, width_px, worse, reason
):
    clear = room((of_width("c_1", width_px), 1, 150, 60))
    found = pipeline.faces.detect(clear, thorough=True)[0]
    sample = VideoSample(frame_job(worse(clear), template=embeddings["a_1"], attentive=True))
    sample.found["faces"] = FacesMeasure((found,), 1)
    (measure,) = pipeline.embedder.measure([sample])
    assert (measure.decided, measure.reason) == (False, reason)
    assert -1 <= measure.comparison_score <= 1


def test_a_turned_head_is_undecided(pipeline, photo):
    image = photo("a_1")
    face = pipeline.faces.detect(image)[0]
    aside = face.landmarks.copy()
    aside[2, 0] = aside[1, 0]
    (probe,) = pipeline.embedder.probe([(image, dataclasses.replace(face, landmarks=aside))])
    assert probe.quality.yaw_deg > 40
    assert identity.doubt(probe, 0.1, Policy()) == "turned"


def test_the_policy_sets_the_limits(measured, embeddings, of_width):
    picture = room((of_width("c_1", 100), 1, 150, 60))
    strict = Policy.from_dict({"detectors": {"identity": {"min_face_px": 120}}})
    assert measured(picture, embeddings["a_1"]).decided
    assert measured(picture, embeddings["a_1"], strict).reason == "face_too_small"


# --- When


@pytest.mark.parametrize(
    ("previous", "at", "attentive", "due"),
    [
        (None, 12.0, False, True),
        (9.5, 10.0, False, True),
        (9.9, 10.4, False, True),
        (10.0, 10.5, False, False),
        (10.0, 10.5, True, True),
        (4.0, 16.0, False, True),
        (14.9, 14.9, False, False),
    ],
)
def test_faces_are_compared_each_interval_and_always_in_doubt(
    pipeline, frame_job, embeddings, photo, previous, at, attentive, due
):
    job = frame_job(photo("a_2"), at=at, previous=previous, template=embeddings["a_1"], attentive=attentive)
    sample = VideoSample(job)
    (sample.found["faces"],) = pipeline.faces.measure([sample])
    assert pipeline.embedder.due(sample) is due


def test_without_template_face_or_leave_nothing_is_compared(pipeline, frame_job, embeddings, photo):
    off = Policy.from_dict({"detectors": {"identity": {"enabled": False}}})
    nobody = np.zeros((480, 640, 3), np.uint8)
    for picture, more in [
        (photo("a_2"), {"template": None}),
        (photo("a_2"), {"template": embeddings["a_1"], "policy": off}),
        (nobody, {"template": embeddings["a_1"]}),
    ]:
        sample = VideoSample(frame_job(picture, attentive=True, **more))
        (sample.found["faces"],) = pipeline.faces.measure([sample])
        assert not pipeline.embedder.due(sample)


class Counting:
    """SFace on a GPU, or not: notes how many faces it was given at once."""

    name, provider, mean_ms = "fake", "none", 0.0

    def __init__(self, model, *, batches=False):
        self._model, self.batches, self.sizes = model, batches, []

    def run(self, feeds):
        self.sizes.append(len(feeds["data"]))
        return self._model.run(feeds)


def test_a_gpu_gets_the_faces_of_all_frames_together(pipeline, photo, embeddings):
    model = Counting(pipeline.embedder.models[0], batches=True)
    faces = [(photo(name), pipeline.faces.detect(photo(name))[0]) for name in NAMES]
    probes = FaceEmbedder(model, pipeline.embedder.models[1]).probe(faces * 6)
    assert model.sizes == [8] * 5, "stacks have few sizes"
    for probe, name in zip(probes, NAMES * 6, strict=True):
        np.testing.assert_allclose(probe.embedding, embeddings[name], atol=1e-4)
