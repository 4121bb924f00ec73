"""All learners: what relates a measure to what the session has shown so far. One file each, one line here.

A detector sees one sample and keeps nothing. A learner sees a session's observations one by one in the order of their
capture, picture and sound merged, keeps a small state between them, and may derive a measure that rules read: where
this candidate looks when looking at the screen, whether lips move while speech is heard. The state lives in
``RulesState``, under the session's row lock, and is forgotten when the session ends.

They run in this order, and each sees what those before it derived.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, Protocol

from detection.engine.learners.challenge import Challenge
from detection.engine.learners.conversation import Conversation
from detection.engine.learners.gaze_line import GazeLine
from detection.engine.learners.head_line import HeadLine
from detection.engine.learners.identity_pool import IdentityPool
from detection.engine.learners.lips import Lips
from detection.engine.learners.liveness_pool import LivenessPool
from detection.engine.learners.loops import LoopLearner
from detection.engine.learners.objects_seen import ObjectsSeen
from detection.engine.learners.persons import Persons
from detection.engine.learners.posture import Posture
from detection.engine.learners.rigidity import RigidityLearner
from detection.engine.learners.sound_loops import SoundLoops
from detection.engine.learners.stillness import StillnessLearner
from detection.engine.learners.voices import Voices
from detection.engine.observations import ERRORS, Observation
from detection.engine.policy import Policy

logger = logging.getLogger(__name__)

State = Mapping[str, Any]
Memory = Mapping[str, State]
"""Learner's name → its state, JSON-able."""


class Learner(Protocol):
    """What every learner has."""

    @property
    def name(self) -> str:
        """Key of its state, and of what it derives among an observation's measures. No detector has the same."""
        ...

    @property
    def streams(self) -> frozenset[str]:
        """Which observations it wants to see: ``video``, ``audio``, ``technical``, ``browser``."""
        ...

    def learn(self, state: State, observation: Observation, policy: Policy) -> tuple[State, Mapping[str, Any] | None]:
        """Return the new state (JSON-able, bounded; ``{}`` at first) and the derived measure, None where there is none.

        Neither argument is changed.
        """
        ...


LEARNERS: Mapping[str, Learner] = {
    learner.name: learner
    for learner in (
        Challenge(),
        IdentityPool(),
        GazeLine(),
        HeadLine(),
        Lips(),
        LoopLearner(),
        RigidityLearner(),
        StillnessLearner(),
        LivenessPool(),
        ObjectsSeen(),
        Persons(),
        Posture(),
        Conversation(),
        Voices(),
        SoundLoops(),
    )
}


def learn_all(
    memory: Memory, observation: Observation, policy: Policy, *, learners: Mapping[str, Learner] = LEARNERS
) -> tuple[Memory, Observation]:
    """Let every learner see an observation; return what they know now, and the observation with what they derived.

    A learner that raises keeps its state as it was and says so under ``measures["errors"]``.
    """
    known, measures = dict(memory), dict(observation.measures)
    observation = dataclasses.replace(observation, measures=measures)  # this one and its measures are ours to add to
    for name, learner in learners.items():
        if observation.stream not in learner.streams:
            continue
        try:
            state, derived = learner.learn(known.get(name, {}), observation, policy)
        except Exception as error:
            logger.exception("Learner %s failed on sample %s", name, observation.sample_id)
            measures[ERRORS] = {**measures.get(ERRORS, {}), name: f"{type(error).__name__}: {error}"}
            continue
        if state:
            known[name] = state
        else:
            known.pop(name, None)
        if derived is not None:
            measures[name] = derived
    return known, observation
