"""The product as the harness drives it: its loaded pipeline, a policy, and its rules over a whole clip."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from detection.engine import rules
from detection.engine.learners import Memory, learn_all
from detection.engine.media import SAMPLE_RATE_HZ, AudioWindow, Frame
from detection.engine.observations import AUDIO, VIDEO, Observation
from detection.engine.pipeline import AudioJob, FrameJob, Pipeline
from detection.engine.policy import DEFAULT_POLICY, Policy, merge
from detection.engine.rules import Change, RulesState
from detection.evaluation import media
from detection.messages import PAST_S


class NotInThisBuildError(Exception):
    """A task needs a detector that this build has not, or whose weights are missing; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Product:
    """A loaded pipeline and the policy to run it with."""

    pipeline: Pipeline
    policy: Policy = field(default=DEFAULT_POLICY)

    @classmethod
    def load(cls, policy: Policy = DEFAULT_POLICY, *, device: str = "cpu") -> Self:
        """Load the pipeline as a worker does."""
        return cls(Pipeline.load(device=device), policy)

    def require(self, *detectors: str) -> None:
        """Raise ``NotInThisBuildError`` unless all these detectors are there."""
        for name in detectors:
            if name in self.pipeline.unavailable:
                raise NotInThisBuildError(f"The detector {name} is switched off: {self.pipeline.unavailable[name]}")
            if not self.pipeline.has(name):
                raise NotInThisBuildError(f"This build has no {name} detector.")

    def only(self, *detectors: str) -> Product:
        """Return the same product with every other detector switched off, for tasks that need just these."""
        sections = {name: {"enabled": name in detectors} for name in self.policy.to_dict()["detectors"]}
        document = merge(self.policy.to_dict(), {"detectors": sections})
        return Product(self.pipeline, Policy.from_dict(document))

    def see(self, images: Sequence[NDArray[np.uint8]]) -> list[Observation]:
        """Measure still pictures, each as the only frame of a candidate who is not enrolled."""
        jobs = [
            FrameJob(Frame(f"still-{index}", image, media.EPOCH), None, None, self.policy)
            for index, image in enumerate(images)
        ]
        return self.pipeline.analyse_frames(jobs)


@dataclass(frozen=True, slots=True)
class Watched:
    """What the product made of a clip.

    ``changes``: findings as they opened and closed; ``observations``: what was measured, with what the learners
    derived, in order. Their times are capture times: second zero of the clip is ``media.EPOCH``.
    """

    changes: list[Change]
    observations: list[Observation]
    duration_s: float
    frames: int


def watch(product: Product, path: Path, *, template: NDArray[np.float32] | None = None) -> Watched:
    """Run a clip through pipeline and rules as a session: sample by sample in order of capture, then the end.

    ``template``: of the enrolled candidate, float32 ``(128,)``. Raises ``MediaError`` for a file that has neither
    picture nor sound.
    """
    sound = media.read_sound(path)
    session = _Session(product, sound, template)
    for sample in _samples(path, sound, product.policy):
        session.take(sample)
    return session.end()


def _samples(path: Path, sound: media.Sound, policy: Policy) -> Iterator[Frame | AudioWindow]:
    """Merge frames and windows by the time at which each was complete."""
    heard = media.windows(sound, policy.sampling.audio_window_s)
    frames = media.read_frames(path, policy.sampling.frames_per_second)
    try:
        first = [next(frames)]
    except StopIteration:
        first = []
    except media.MediaError:
        if not len(sound):
            raise
        first = []
    return heapq.merge(itertools.chain(first, frames), heard, key=_complete_at)


def _complete_at(sample: Frame | AudioWindow) -> float:
    return sample.captured_at if isinstance(sample, Frame) else sample.ended_at


def audio_jobs(sound: media.Sound, policy: Policy) -> Iterator[AudioJob]:
    """Cut a recording into the jobs that a session's worker would get, one after the other."""
    sent, previous = media.as_sent(sound), None
    for window in media.windows(sound, policy.sampling.audio_window_s):
        yield AudioJob(window, policy, previous, partial(_past, sent, window))
        previous = window.ended_at


def _past(sound: media.Sound, window: AudioWindow) -> media.Sound:
    """Return the sound before a window, as far back as the gateway's messages name it."""
    stop = round((window.started_at - media.EPOCH) * SAMPLE_RATE_HZ)
    return sound[max(0, stop - round(PAST_S * SAMPLE_RATE_HZ)) : stop]


class _Session:
    """One session while it runs."""

    def __init__(self, product: Product, sound: media.Sound, template: NDArray[np.float32] | None) -> None:
        self._product = product
        self._sound = media.as_sent(sound)
        self._template = template
        self._state = RulesState()
        self._memory: Memory = {}
        self._changes: list[Change] = []
        self._observations: list[Observation] = []
        self._previous: dict[str, float] = {}
        self._frames = 0

    def take(self, sample: Frame | AudioWindow) -> None:
        """Measure one sample and let the rules see it."""
        policy = self._product.policy
        (observation,) = self._see(sample) if isinstance(sample, Frame) else self._hear(sample)
        observation = replace(observation, previous_at=self._previous.get(observation.stream))
        self._previous[observation.stream] = observation.captured_at
        step = rules.advance(self._state, [observation], policy)
        self._state = step.state
        self._changes += step.changes
        self._memory, learnt = learn_all(self._memory, observation, policy)
        self._observations.append(learnt)

    def end(self) -> Watched:
        """Close the session after its last sample."""
        ended_at = max([media.EPOCH, *self._previous.values()])
        self._changes += rules.close(self._state, ended_at, self._product.policy).changes
        return Watched(self._changes, self._observations, ended_at - media.EPOCH, self._frames)

    def _see(self, frame: Frame) -> list[Observation]:
        self._frames += 1
        previous = self._previous.get(VIDEO)
        job = FrameJob(frame, self._template, previous, self._product.policy, attentive=self._state.attentive)
        if self._template is not None:
            job = replace(job, template_model=self._product.pipeline.embedder.model_name)
        return self._product.pipeline.analyse_frames([job])

    def _hear(self, window: AudioWindow) -> list[Observation]:
        job = AudioJob(window, self._product.policy, self._previous.get(AUDIO), partial(_past, self._sound, window))
        return self._product.pipeline.analyse_audio([job])
