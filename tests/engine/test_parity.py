"""Our landmarks, without MediaPipe, are MediaPipe's. Needs ``make reference``; skipped without."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from detection.engine.weights import weights_path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = Path(os.environ.get("REFERENCE_PYTHON") or ROOT / "var" / "reference" / "bin" / "python")
NAMES = ("a_1", "a_2", "b_1", "b_2", "c_1", "d_1")


@pytest.mark.skipif(not REFERENCE.exists(), reason="MediaPipe is not installed: run `make reference`")
def test_landmarks_and_blendshapes_are_those_of_mediapipe(pipeline, photo):
    pictures = [str(weights_path(f"photo_{name}")) for name in NAMES]
    command = [str(REFERENCE), str(ROOT / "tests/reference/landmarks.py"), str(weights_path("face-landmarker"))]
    done = subprocess.run([*command, *pictures], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(NAMES)
    landmarks = pipeline._detectors["landmarks"]
    for name, theirs in zip(NAMES, answers, strict=True):
        image = photo(name)
        face = pipeline.faces.detect(image)[0]
        ours = landmarks.find(image, face, twice=True)
        apart = np.linalg.norm(ours.points[:, :2] - np.array(theirs["points"]), axis=1)
        # Theirs finds the face by another detector: the crops differ a little, and the points with them.
        assert np.median(apart) < 0.015 * face.width_px, name
        assert np.percentile(apart, 95) < 0.05 * face.width_px, name
        assert np.abs(ours.blendshapes - theirs["blendshapes"]).mean() < 0.04, name
