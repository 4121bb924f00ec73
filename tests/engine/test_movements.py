"""What the networks see of the movements that a challenge asks for: heads drawn with depth make them, prints do not.

Generated: photographs turned in space. How people move, and what a camera sees of it, this does not measure.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from detection.engine.challenge import Posture, Prompt, share_of
from detection.engine.pipeline import FrameJob, Pipeline
from tests.puppet import Puppet

Image = NDArray[np.uint8]
NAMES = ("a_1", "a_2", "b_1", "b_2", "c_1", "d_1")
PAPER = 118
_FOCAL = 2.0
"""Distance of the paper, in its widths."""


@pytest.fixture(scope="module")
def people(photo: Callable[[str], Image]) -> dict[str, Image]:
    return {name: _small(photo(name)) for name in NAMES}


@pytest.fixture
def posture(pipeline: Pipeline, frame_job: Callable[..., FrameJob]) -> Callable[[Image], Posture]:
    """Return a function that measures a picture's face as a frame of a session."""

    def measure(image: Image) -> Posture:
        found = pipeline.analyse_frames([frame_job(image)])[0].measures
        pose, faces, mouth = found["head_pose"], found["faces"], found["mouth"]
        return Posture(pose["yaw_deg"], pose["pitch_deg"], faces["width_px"], mouth["open"])

    return measure


@pytest.mark.parametrize("prompt", sorted(set(Prompt) - {Prompt.OPEN_MOUTH}))
def test_a_head_with_depth_makes_the_movement(
    prompt: Prompt, people: dict[str, Image], pipeline: Pipeline, posture: Callable[[Image], Posture]
) -> None:
    shares = {}
    for name, image in people.items():
        puppet = Puppet(image, pipeline)
        shares[name] = share_of(prompt, posture(puppet.pose(prompt)), posture(puppet.pose(None)))
    assert len(shares) == len(NAMES)
    assert min(shares.values()) >= 1.1, shares


def test_opened_mouths_are_seen_in_all_but_one_who_shows_the_teeth(
    people: dict[str, Image], pipeline: Pipeline, posture: Callable[[Image], Posture]
) -> None:
    puppets = [Puppet(image, pipeline) for image in people.values()]
    shares = [
        share_of(Prompt.OPEN_MOUTH, posture(puppet.pose(Prompt.OPEN_MOUTH)), posture(puppet.pose(None)))
        for puppet in puppets
    ]
    assert sum(share >= 1 for share in shares) >= len(NAMES) - 1, shares


@pytest.mark.parametrize("turn_deg", [-50, -35, -20, 20, 35, 50])
@pytest.mark.parametrize("upright", [True, False])
def test_a_print_that_is_turned_or_tilted_shows_neither_turn_nor_look(
    turn_deg: int, upright: bool, people: dict[str, Image], posture: Callable[[Image], Posture]
) -> None:
    asked = (Prompt.TURN_LEFT, Prompt.TURN_RIGHT, Prompt.LOOK_UP, Prompt.OPEN_MOUTH)
    worst = 0.0
    for image in people.values():
        rest = posture(_print(image, 0))
        seen = posture(_print(image, turn_deg, upright=upright))
        worst = max(worst, *(share_of(prompt, seen, rest) for prompt in asked))
    assert worst < 0.9


def _small(image: Image) -> Image:
    scale = 480 / max(image.shape[:2])
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def _print(image: Image, turn_deg: float, *, upright: bool = True) -> Image:
    """Show a picture as a sheet of paper turned about its upright or its level middle line."""
    height, width = image.shape[:2]
    sine, cosine = math.sin(math.radians(turn_deg)), math.cos(math.radians(turn_deg))
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    shown = []
    for x, y in corners - (width / 2, height / 2):
        along = x if upright else y
        away = _FOCAL * width / (_FOCAL * width - along * sine)
        across, down = (x * cosine, y) if upright else (x, y * cosine)
        shown.append((width / 2 + across * away, height / 2 + down * away))
    matrix = cv2.getPerspectiveTransform(corners, np.array(shown, np.float32))
    return np.asarray(cv2.warpPerspective(image, matrix, (width, height), borderValue=(PAPER,) * 3), np.uint8)
