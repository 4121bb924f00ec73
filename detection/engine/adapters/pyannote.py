"""Networks that pyannote's pipelines segment with (PyanNet with a powerset): who of a few voices speaks, each 17 ms."""

from __future__ import annotations

import numpy as np

from detection.engine.detectors.speakers import SpeakersDetector
from detection.engine.media import SAMPLE_RATE_HZ
from detection.engine.model import Model
from detection.engine.segmentation import OVERLAP, STRETCH_S, Powerset, frames_in
from detection.engine.sound import silence
from detection.engine.weights import Weight, WeightsError


def build(model: Model, *, weight: Weight) -> SpeakersDetector:
    """Return the detector; raise ``WeightsError`` where the graph makes something else of ten seconds of sound.

    Options: ``voices`` it tells apart (3), how many of them ``at_once`` (2), and ``overlap``, the mean probability from
    which two talk at once (0.12, which is segmentation-3.0's).
    """
    network = Powerset(
        input_name=model.input_names[0],
        voices=int(weight.options.get("voices", 3)),
        at_once=int(weight.options.get("at_once", 2)),
        overlap=weight.options.get("overlap", OVERLAP),
    )
    _require_fitting(model, network, weight.name)
    return SpeakersDetector(model, network)


def _require_fitting(model: Model, network: Powerset, name: str) -> None:
    if network.voices < 2 or not 2 <= network.at_once <= network.voices or not 0 < network.overlap < 1:
        raise WeightsError(f"{name}: options need voices of 2 and more, at_once from 2 to voices, overlap from 0 to 1")
    sound = silence(STRETCH_S)
    found = np.shape(model.run({network.input_name: sound[None, None]})[0])
    wanted = 1, frames_in(len(sound)), len(network.active)
    if found != wanted:
        seconds = len(sound) / SAMPLE_RATE_HZ
        raise WeightsError(
            f"{name}: the network makes {found} of {seconds:g} s of sound, not {wanted}: see its options"
        )
