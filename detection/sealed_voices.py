"""Voices in a session's state as it lies in the database: sealed under the candidate's data key, as templates are.

A voice is in two places: what the learner knows of the candidate's, and observations that the rules have yet to judge.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from accounts.kek import KeyServiceError
from accounts.keys import SealError, open_sealed, seal
from accounts.models import DataKey
from detection.engine.learners.voices import Voices
from sessions.models import ExamSession

logger = logging.getLogger(__name__)

PURPOSE: Final = "detection.RuleState.state"
_SEALED: Final = "sealed_voices"
_LEARNT: Final = "learnt"
_EMBEDDING: Final = "embedding"


def voices_seal(state: Mapping[str, Any], session: ExamSession) -> dict[str, Any]:
    """Return the state (``RulesState.to_dict``) with its voices sealed; without them where that cannot be done."""
    known = dict(state["memory"].get(Voices.name, {}))
    voices: dict[str, Any] = {}
    if _LEARNT in known:
        voices[_LEARNT] = known.pop(_LEARNT)
    pending, heard = [], {}
    for position, observation in enumerate(state["pending"]):
        voice = observation["measures"].get("voice")
        if voice and voice.get(_EMBEDDING):
            heard[str(position)] = voice[_EMBEDDING]
            observation = observation | {"measures": observation["measures"] | {"voice": voice | {_EMBEDDING: []}}}
        pending.append(observation)
    if not voices and not heard:
        return dict(state)
    bare = {**state, "memory": {**state["memory"], Voices.name: known}, "pending": pending}
    text = json.dumps(voices | {"heard": heard}, separators=(",", ":"))
    try:
        return bare | {_SEALED: base64.b64encode(_sealed(text.encode(), session)).decode()}
    except (SealError, KeyServiceError) as error:
        logger.info("Session %s: the voice that was learnt is forgotten: %s", session.pk, error)
        return _without_voices(bare)


def voices_open(state: Mapping[str, Any], session: ExamSession) -> dict[str, Any]:
    """Return the state as ``voices_seal`` got it. Voices whose key is gone are forgotten: another will be learnt."""
    opened = {key: value for key, value in state.items() if key != _SEALED}
    if _SEALED not in state:
        return opened
    known = dict(state["memory"].get(Voices.name, {}))
    try:
        voices = _opened(state[_SEALED], session)
    except (SealError, KeyServiceError) as error:
        logger.info("Session %s: the voice that was learnt is forgotten: %s", session.pk, error)
        return _without_voices(opened)
    if _LEARNT in voices:
        known[_LEARNT] = voices[_LEARNT]
    pending = [
        observation
        if (embedding := voices["heard"].get(str(position))) is None
        else observation
        | {"measures": observation["measures"] | {"voice": observation["measures"]["voice"] | {_EMBEDDING: embedding}}}
        for position, observation in enumerate(state["pending"])
    ]
    return opened | {"memory": {**state["memory"], Voices.name: known}, "pending": pending}


def _without_voices(state: dict[str, Any]) -> dict[str, Any]:
    return state | {"memory": {name: known for name, known in state["memory"].items() if name != Voices.name}}


def _sealed(text: bytes, session: ExamSession) -> bytes:
    return seal(text, data_key=_data_key(session), purpose=PURPOSE, row=str(session.pk))


def _opened(sealed: str, session: ExamSession) -> dict[str, Any]:
    opened = open_sealed(base64.b64decode(sealed), data_key=_data_key(session), purpose=PURPOSE, row=str(session.pk))
    voices: dict[str, Any] = json.loads(opened)
    return voices


def _data_key(session: ExamSession) -> DataKey:
    data_key = session.candidate.data_key
    if data_key is None:
        raise SealError("The candidate has no data key.")
    return data_key
