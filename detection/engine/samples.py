"""Samples on their way through the detectors, and the interface that every detector has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from detection.engine.media import AudioWindow, Frame
from detection.engine.model import FACE_EMBEDDER, Model
from detection.engine.observations import Face, FacesMeasure, LandmarksMeasure, Measure
from detection.engine.policy import Policy


@dataclass(frozen=True, slots=True, eq=False)
class FrameJob:
    """A frame to analyse, with what its session says about it.

    ``template``: float32 ``(128,)``, L2-normalised; None where nobody is enrolled. ``previous_captured_at``: capture
    time of the sampled frame before, None for the first. ``attentive``: the rules want every frame compared.
    ``template_model``: the network that made the template; its vectors have other lengths with other networks.
    """

    frame: Frame
    template: NDArray[np.float32] | None
    previous_captured_at: float | None
    policy: Policy
    attentive: bool = False
    template_model: str = FACE_EMBEDDER
    phase: float = 0.0
    """Share of an interval by which this session's looks are shifted: not everybody's are due at one moment."""


def _no_past() -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


@dataclass(slots=True, eq=False)
class AudioJob:
    """An audio window to analyse.

    ``previous_ended_at``: end of the window before, None for the first. ``load_past``: fetches what ``past`` returns.
    """

    window: AudioWindow
    policy: Policy
    previous_ended_at: float | None = None
    load_past: Callable[[], NDArray[np.float32]] = _no_past
    phase: float = 0.0
    """As with frames."""
    _past: NDArray[np.float32] | None = None

    @property
    def past(self) -> NDArray[np.float32]:
        """Return up to ten seconds of gapless sound that end where the window starts, its lead-in included.

        float32 mono at 16 kHz; empty at a session's start and after a gap. It is fetched when somebody asks.
        """
        if self._past is None:
            self._past = self.load_past()
        return self._past


MIN_PRESENCE = 0.5
"""Below this the network takes what it sees for no face, and its points mean nothing."""


@dataclass(slots=True, eq=False)
class VideoSample:
    """A frame on its way: what the detectors before found, by detector name, and what went wrong."""

    job: FrameJob
    found: dict[str, Measure] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def faces(self) -> tuple[Face, ...]:
        """Return the faces found, largest first; empty when there are none or nobody looked."""
        measure = self.found.get("faces")
        return measure.faces if isinstance(measure, FacesMeasure) else ()

    @property
    def landmarks(self) -> LandmarksMeasure | None:
        """Return the points of the largest face; None where nobody looked, or the network itself sees no face."""
        measure = self.found.get("landmarks")
        return measure if isinstance(measure, LandmarksMeasure) and measure.presence >= MIN_PRESENCE else None

    def is_due(self, interval_s: float) -> bool:
        """Return whether what runs each ``interval_s`` runs on this frame: a multiple lies between the last one and it.

        It depends on the frame alone, so any worker decides alike.
        """
        return _is_due(self.job.previous_captured_at, self.job.frame.captured_at, interval_s, self.job.phase)


@dataclass(slots=True, eq=False)
class AudioSample:
    """An audio window on its way."""

    job: AudioJob
    found: dict[str, Measure] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def is_due(self, interval_s: float) -> bool:
        """Return whether what runs each ``interval_s`` runs on this window, as with frames."""
        return _is_due(self.job.previous_ended_at, self.job.window.ended_at, interval_s, self.job.phase)


def _is_due(previous: float | None, at: float, interval_s: float, phase: float) -> bool:
    return previous is None or math.floor(at / interval_s + phase) > math.floor(previous / interval_s + phase)


Sample = TypeVar("Sample", VideoSample, AudioSample, contravariant=True)


class Detector(Protocol, Generic[Sample]):
    """What every detector has. It keeps nothing between calls: any worker, any sample."""

    name: str
    """Key of its measure, and of its section in the policy's ``detectors``."""
    stream: str
    """``video`` or ``audio``."""
    models: Sequence[Model]
    """The networks it runs, for health and metrics."""

    def due(self, sample: Sample) -> bool:
        """Return whether this sample wants measuring, given the policy and what was found before."""
        ...

    def measure(self, samples: Sequence[Sample]) -> Sequence[Measure]:
        """Measure samples of many candidates, in order. When it raises, the pipeline tries each sample alone."""
        ...


@runtime_checkable
class WarmsUp(Protocol):
    """What a detector has besides where an empty frame and a silent window do not run its networks."""

    def warm_up(self) -> None:
        """Run every network once on nothing."""
        ...
