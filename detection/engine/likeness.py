"""What a comparison score of two faces means, given how clearly each was seen: one place for all who compare.

A face's ``clarity`` is the cosine that its embedding is expected to have with the embedding of the *same picture* taken
well: what is left of its likeness. Everything else follows from it.

The figures below come from 951 simulated webcam pictures (blur, motion, darkness, noise, compression, faces 16 to 110
pixels wide; some kinds at random, some alone) of 10 people in colour photographs, 8 of them with several, and of 25
strangers, out of public test material: too few people to hold any back. On 260 other simulated pictures of the same 10
against clear photographs (15,168 pairs): 1.2 % false non-matches (95 % interval by person 0 to 2.7) and 0.03 % false
matches (0 to 0.08) among the decided; 15 % of a person's own pairs and 11 % of strangers' undecided, where both
pictures are poor 31 and 26 %. Scans of photographs of 1920 are another matter: of 30 people in grey 4 % of the
strangers match, since SFace finds all of them alike.
"""

from __future__ import annotations

import math

OPERATING_SCORE = 0.363
"""Cosine from which OpenCV calls two faces one person: the threshold of SFace's published 99.4 % on LFW."""
OPERATING_SIMILARITY = 0.75
"""What that is on the calibrated scale: the default of FACE_MATCH_THRESHOLD."""
_UNRELATED_SCORE, _UNRELATED_SIMILARITY = 0.0, 0.02
"""Strangers' embeddings stand at right angles on average."""

CLEAR = 0.70
"""From this clarity on a similarity under the threshold is a mismatch."""

_CLARITY_PER_STRENGTH, _CLARITY_OFFSET = 0.105, -0.49
"""Rounded from least squares over 361 simulated pictures of scans and strangers (0.103, -0.43) and lowered a little, to
be careful. Right within 0.10 (one standard deviation, correlation 0.86) on 522 pictures of the ten other people, and
within 0.11 on 330 of eleven single kinds of damage. Width, sharpness, contrast and noise make it no better."""

_UNCLEAR_FROM, _UNCLEAR_SPAN = 0.75, 0.3
"""Strangers' scores change from here on as clarity falls, and no more after this stretch."""
_ONE_UNCLEAR, _BOTH_UNCLEAR = -0.07, 0.28
"""A thousandth of strangers reaches 0.36 where both faces are clear; where one is not, less (0.32 at a clarity of 0.7,
0.28 at 0.4 to 0.55); where neither is, more (0.37 at 0.6, 0.44 at 0.5, 0.50 at 0.4): what blur and noise leave of two
faces is alike."""

_DOUBT_PER_CLARITY = 0.9
"""How fast the least likely thirtieth of a person's own scores falls with clarity: 0.41 at 0.7, 0.28 at 0.6, 0.18 at
0.5, 0.11 at 0.4. Below ``CLEAR`` it lies under the threshold: in between, strangers and the person score alike."""


def _logit(share: float) -> float:
    return math.log(share / (1 - share))


_SLOPE = (_logit(OPERATING_SIMILARITY) - _logit(_UNRELATED_SIMILARITY)) / (OPERATING_SCORE - _UNRELATED_SCORE)


def clarity(strength: float) -> float:
    """Return how much of its likeness a face is expected to have kept, 0 to 1.

    ``strength``: length of the network's raw vector, 12 to 15 for clear faces, 8 where hardly anything is left. Motion
    within the exposure takes more than it shows: a smear of a fifth of the face's width leaves 0.2 less than this says.
    """
    return min(1.0, max(0.0, _CLARITY_PER_STRENGTH * strength + _CLARITY_OFFSET))


def operating_score(probe: float = 1.0, template: float = 1.0) -> float:
    """Return the cosine that is a similarity of ``OPERATING_SIMILARITY`` for faces of these clarities."""
    one, other = _unclear(probe), _unclear(template)
    return OPERATING_SCORE + _ONE_UNCLEAR * (one + other) + _BOTH_UNCLEAR * one * other


def similarity(
    comparison_score: float, probe: float = 1.0, template: float = 1.0, *, operating: float = OPERATING_SCORE
) -> float:
    """Return a raw cosine on the calibrated scale from 0 to 1, for faces of the given clarities.

    ``operating``: the cosine from which the network takes two clear faces for one person's, where it is not SFace.

    A logistic curve, ``1 / (1 + exp(-(13.75 x score - 3.89)))`` for clear faces, laid through two points: the published
    operating threshold (0.363) is 0.75, and what strangers have on average (0) is 0.02. For unclear faces the curve is
    moved so that 0.75 stays where about one stranger in a thousand reaches it. It orders comparisons of equal clarity
    exactly as the cosine does and is no probability that the person is the right one: that depends on how many
    impostors there are.
    """
    distance = comparison_score * OPERATING_SCORE / operating - operating_score(probe, template)
    return 1 / (1 + math.exp(-(_SLOPE * distance + _logit(OPERATING_SIMILARITY))))


def mismatch_similarity(threshold: float, probe: float = 1.0, template: float = 1.0, *, clear: float = CLEAR) -> float:
    """Return the similarity below which two faces are two people, where from ``threshold`` on they are one.

    The two are the same for clear faces. In between, who it is cannot be told.
    """
    missing = max(0.0, clear - min(probe, template))
    at_clear = OPERATING_SCORE - operating_score(probe, template)
    return 1 / (1 + math.exp(-(_logit(threshold) - _SLOPE * max(0.0, _DOUBT_PER_CLARITY * missing - at_clear))))


def _unclear(value: float) -> float:
    return min(1.0, max(0.0, (_UNCLEAR_FROM - value) / _UNCLEAR_SPAN))
