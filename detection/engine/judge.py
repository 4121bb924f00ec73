"""Judge samples one by one in the order of their capture: begin, decide, calm down and end each rule's track."""

from __future__ import annotations

import math
from collections.abc import Callable

from detection.engine.findings import (
    EPSILON_S,
    Change,
    Sight,
    Track,
    begin,
    change,
    decide,
    decide_by_time,
    go_on,
    is_beyond,
)
from detection.engine.learners import Memory, learn_all
from detection.engine.link import Link
from detection.engine.observations import BROWSER, TECHNICAL, VIDEO, Observation
from detection.engine.policy import EventType, Policy
from detection.engine.rulebook import RULES, Reading, Rule

_SAMPLES_PER_GAP = 2.5
"""At slow sampling, a gap is at least this many samples long."""


class Judge:
    """The rules of one session while a step changes them. ``changes`` is what came of it."""

    def __init__(
        self,
        policy: Policy,
        new_id: Callable[[], str],
        *,
        tracks: dict[EventType, Track],
        free_at: dict[EventType, float],
        link: Link,
        memory: Memory,
        frame_id: str,
    ) -> None:
        """Take the session's state; the dictionaries and the tracks in them are changed in place."""
        self._policy = policy
        self._new_id = new_id
        self.tracks = tracks
        self.free_at = free_at
        self.link = link
        self.memory = memory
        self.frame_id = frame_id
        self.changes: list[Change] = []

    def see(self, observation: Observation) -> None:
        """Judge one observation, the next in time."""
        self.pass_time(observation.captured_at)
        self.memory, observation = learn_all(self.memory, observation, self._policy)
        if observation.stream == VIDEO:
            self.frame_id = observation.sample_id
        before, self.link = self.link, self.link.after(observation)
        link_spoke = observation.stream == TECHNICAL or self.link != before
        for event, rule in RULES.items():
            if not self._policy.rules[event].enabled:
                continue
            if rule.stream == BROWSER:
                self._see_page(event, rule, observation)
                continue
            if link_spoke:
                self._see_link(event, rule, observation)
            if observation.stream == rule.stream and rule.standing(self.link) is None:
                self._see_sample(event, rule, observation)

    def pass_time(self, until: float) -> None:
        """Decide, in order of time, what follows by itself up to ``until``."""
        while self.tracks:
            at, event = min((self._due_at(event), event) for event in self.tracks)
            if at > until or at == math.inf:
                return
            track = self.tracks[event]
            if track.calm_at is not None:
                self._end(event, track.last_at)
            else:
                decide_by_time(track, at, self._new_id())
                self._opened(event)

    def notice_gaps(self, seen_until: float) -> None:
        """End what is known from samples only, where none came for longer than a gap."""
        for event in list(self.tracks):
            self._end_at_gap(event, seen_until)

    def end(self, at: float) -> None:
        """End everything at ``at``; what samples had shown ends with the last of them."""
        for event in sorted(self.tracks):
            track = self.tracks[event]
            self._end(event, at if track.standing and track.calm_at is None else track.last_at)

    # --- One observation, one rule --------------------------------------------------------------------------------

    def _see_link(self, event: EventType, rule: Rule, observation: Observation) -> None:
        """Read what the state of the link implies."""
        value, at = rule.standing(self.link), observation.captured_at
        if value is not None:
            self._read(event, rule, Sight(Reading(value, at, at), observation, self.frame_id, standing=True))
            return
        self._yields(event, rule)
        track = self.tracks.get(event)
        if track is not None and track.standing:  # from here on its samples have to tell
            track.standing = False
            track.last_at = track.seen_at = max(track.seen_at, at)

    def _see_page(self, event: EventType, rule: Rule, observation: Observation) -> None:
        """Read what the page tells: it stands until the page says that it is over; a moment is over at once."""
        reading = rule.read(observation)
        if reading is None:
            return
        self._weigh(event, rule, Sight(reading, observation, self.frame_id, standing=True))
        track = self.tracks.get(event)
        if rule.is_moment and track is not None:
            track.calm_at = reading.ended_at

    def _see_sample(self, event: EventType, rule: Rule, observation: Observation) -> None:
        self._end_at_gap(event, observation.span[0])
        reading = rule.read(observation)
        if reading is not None:
            self._read(event, rule, Sight(reading, observation, self.frame_id))

    def _read(self, event: EventType, rule: Rule, sight: Sight) -> None:
        """Weigh one value, unless another trouble explains it."""
        if not self._yields(event, rule):
            self._weigh(event, rule, sight)

    def _weigh(self, event: EventType, rule: Rule, sight: Sight) -> None:
        """Begin, go on, decide, calm down or end."""
        track = self.tracks.get(event)
        if track is None:
            self._begin(event, rule, sight)
            return
        if track.standing:  # what stood by itself lasted until this moment
            track.last_at = max(track.last_at, sight.reading.started_at)
        track.standing = sight.standing
        track.seen_at = max(track.seen_at, sight.observation.captured_at)
        if is_beyond(event, sight.reading.value, self._policy.rules[event].exit):
            go_on(track, event, rule, sight)
            self._decide_if_held(event, rule, sight)
        else:
            self._calm(event, rule, track, sight.observation)

    def _begin(self, event: EventType, rule: Rule, sight: Sight) -> None:
        free_at = self.free_at.get(event, -math.inf)
        enter = self._policy.rules[event].enter
        if is_beyond(event, sight.reading.value, enter) and sight.reading.ended_at >= free_at:
            self.tracks[event] = begin(rule, sight, not_before=free_at)
            self._decide_if_held(event, rule, sight)

    def _decide_if_held(self, event: EventType, rule: Rule, sight: Sight) -> None:
        track, limits = self.tracks[event], self._policy.rules[event]
        held_s = track.last_at - track.started_at
        if track.is_open or self._is_explained(rule):
            return
        if track.count >= rule.min_samples and held_s >= limits.hold_s - EPSILON_S:
            decide(track, rule, sight, self._new_id())
            self._opened(event)

    def _calm(self, event: EventType, rule: Rule, track: Track, observation: Observation) -> None:
        started_at, ended_at = observation.span
        if track.calm_at is None:
            track.calm_at = started_at
        if not track.is_open and not rule.bridges_pauses:
            del self.tracks[event]
        elif ended_at - track.calm_at >= self._policy.rules[event].release_s - EPSILON_S:
            self._end(event, track.last_at)

    def _yields(self, event: EventType, rule: Rule) -> bool:
        """Return whether a trouble that explains this one is suspected or open; a mere suspicion is dropped then.

        One that ``waits`` goes on while the explanation is only suspected: nothing is decided meanwhile.
        """
        others = [self.tracks[other] for other in rule.yields_to if other in self.tracks]
        if not others or (rule.waits and not any(other.is_open for other in others)):
            return False
        track = self.tracks.get(event)
        if track is not None and not track.is_open:
            del self.tracks[event]
        return True

    def _is_explained(self, rule: Rule) -> bool:
        return any(other in self.tracks for other in rule.yields_to)

    # --- Time -----------------------------------------------------------------------------------------------------

    def _due_at(self, event: EventType) -> float:
        """Return when this track is decided or ends if nothing comes; infinity if it does not."""
        track, limits = self.tracks[event], self._policy.rules[event]
        if not track.standing:
            return math.inf
        if track.calm_at is not None:
            return track.calm_at + limits.release_s
        waits = track.is_open or self._is_explained(RULES[event])
        return math.inf if waits else track.started_at + limits.hold_s

    def _end_at_gap(self, event: EventType, at: float) -> None:
        track = self.tracks.get(event)
        if track is not None and not track.standing and at - track.seen_at > self._gap_s(RULES[event]):
            self._end(event, track.last_at)

    def _gap_s(self, rule: Rule) -> float:
        sampling = self._policy.sampling
        interval_s = 1 / sampling.frames_per_second if rule.stream == VIDEO else sampling.audio_window_s
        return max(self._policy.gap_s, _SAMPLES_PER_GAP * interval_s)

    # --- What comes of it -----------------------------------------------------------------------------------------

    def _opened(self, event: EventType) -> None:
        """Tell of a finding, and end those that it explains."""
        track = self.tracks[event]
        self.changes.append(change(track, event, RULES[event], self._policy.rules[event], None))
        for other in [other for other in self.tracks if event in RULES[other].yields_to]:
            explained = self.tracks[other]
            if RULES[other].stream == BROWSER and not explained.is_open:
                continue  # the page tells of it once; what lasts longer than its explanation counts from then on
            self._end(other, track.started_at if explained.standing else explained.last_at)

    def _end(self, event: EventType, at: float) -> None:
        """End a suspicion silently, a finding with a change."""
        track, limits = self.tracks.pop(event), self._policy.rules[event]
        for other, waiting in self.tracks.items():  # what was explained until now counts from now on
            if RULES[other].stream == BROWSER and event in RULES[other].yields_to and not waiting.is_open:
                waiting.started_at = max(waiting.started_at, at)
                waiting.last_at = max(waiting.last_at, at)
        if track.is_open:
            ended_at = max(at, track.decided_at)
            self.free_at[event] = ended_at + limits.cooldown_s
            self.changes.append(change(track, event, RULES[event], limits, ended_at))
