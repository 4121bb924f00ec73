"""All tasks: one file each, one line here. Each measures the product on one layout of labelled data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from detection.evaluation.product import Product
from detection.evaluation.report import Report
from detection.evaluation.tasks import attack, exam, faces, gaze, head_pose, objects, speakers, speech, voices

TASKS: Mapping[str, Callable[[Product, Path], Report]] = {
    "faces": faces.evaluate,
    "head-pose": head_pose.evaluate,
    "gaze": gaze.evaluate,
    "speech": speech.evaluate,
    "speakers": speakers.evaluate,
    "voices": voices.evaluate,
    "attack": attack.evaluate,
    "objects": objects.evaluate,
    "exam": exam.evaluate,
}
"""Name on the command line → evaluation. It raises ``LayoutError`` and ``NotInThisBuildError``."""
