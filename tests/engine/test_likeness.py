"""The calibrated scale: where it crosses the threshold, and how doubt grows as faces get less clear."""

from __future__ import annotations

import numpy as np
import pytest

from detection.engine.likeness import clarity, mismatch_similarity, operating_score, similarity

CLARITIES = [0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0]


@pytest.mark.parametrize(("strength", "expected"), [(14.0, 0.98), (12.0, 0.77), (9.0, 0.455), (4.0, 0.0), (20.0, 1.0)])
def test_the_longer_the_vector_the_clearer_the_face(strength, expected):
    assert clarity(strength) == pytest.approx(expected)


@pytest.mark.parametrize("probe", CLARITIES)
@pytest.mark.parametrize("template", CLARITIES)
def test_the_threshold_lies_at_the_operating_score_however_clear_the_faces(probe, template):
    score = operating_score(probe, template)
    assert similarity(score, probe, template) == pytest.approx(0.75)
    assert operating_score(template, probe) == score
    values = [similarity(each, probe, template) for each in np.linspace(-1, 1, 41)]
    assert values == sorted(values)
    assert 0 < values[0] < values[-1] < 1


def test_one_unclear_face_needs_less_and_two_need_more():
    assert operating_score() == pytest.approx(0.363)
    assert operating_score(0.4) < 0.31 < operating_score(0.7) < operating_score()
    assert operating_score(0.4, 0.4) > 0.48 > operating_score(0.5, 0.5) > operating_score(0.6, 0.6) >= operating_score()


def test_between_match_and_mismatch_lies_doubt_that_grows_as_clarity_falls():
    assert mismatch_similarity(0.75, 1.0) == pytest.approx(0.75)
    assert mismatch_similarity(0.75, 0.75) == pytest.approx(0.75)
    falling = [mismatch_similarity(0.75, each) for each in (0.7, 0.6, 0.5, 0.4, 0.3)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] < 0.06
    assert mismatch_similarity(0.75, 0.9, 0.5) == mismatch_similarity(0.75, 0.5, 0.9)
    assert mismatch_similarity(0.6, 0.5) < mismatch_similarity(0.75, 0.5)
