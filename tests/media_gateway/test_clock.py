"""The media clock: capture times from RTP timestamps and arrivals."""

from __future__ import annotations

import itertools
import random

import pytest

from media_gateway.clock import MediaClock

RATE = 90_000
START = 1_800_000_000.0
ORIGIN = 4_294_960_000  # wraps within the first tenth of a second


def play(
    clock: MediaClock,
    *,
    seconds: float,
    fps: float = 15.0,
    delay_s: float = 0.03,
    jitter_s: float = 0.0,
    from_s: float = 0.0,
    origin: int = ORIGIN,
    speed: float = 1.0,
) -> list[float]:
    """Feed packets captured at ``START + from_s + n / fps``; return the error of each estimated capture time.

    ``speed`` is the sender's clock against ours.
    """
    noise = random.Random(1)
    errors = []
    for n in range(round(seconds * fps)):
        captured_at = START + from_s + n / fps
        timestamp = round(origin + (from_s + n / fps) * speed * RATE) & 0xFFFFFFFF
        arrived_at = captured_at + delay_s + (noise.expovariate(1 / jitter_s) if jitter_s else 0.0)
        position = clock.note(timestamp, arrived_at)
        errors.append(clock.captured_at(position) - captured_at)
    return errors


def test_a_steady_stream_is_late_by_its_delay_only() -> None:
    assert play(MediaClock(RATE), seconds=20) == pytest.approx([0.03] * 300, abs=0.001)


def test_the_fastest_packets_decide() -> None:
    errors = play(MediaClock(RATE), seconds=60, jitter_s=0.08)
    settled = errors[60:]
    assert max(settled) - 0.03 < 0.03
    assert min(settled) >= 0.03 - 0.001
    assert max(abs(b - a) for a, b in itertools.pairwise(settled)) < 0.03


def test_no_capture_is_later_than_its_arrival() -> None:
    clock, noise = MediaClock(RATE), random.Random(2)
    for n in range(500):
        arrived_at = START + n / 15 + noise.random()
        assert clock.captured_at(clock.note(n * 6000, arrived_at)) <= arrived_at + 1e-6


def test_a_wrapped_timestamp_goes_on() -> None:
    clock = MediaClock(RATE)
    first = clock.note(0xFFFFFF00, START)
    second = clock.note(0x00000100, START + 512 / RATE)
    assert second - first == 512
    assert clock.captured_at(second) - clock.captured_at(first) == pytest.approx(512 / RATE, abs=1e-6)
    assert clock.epoch == 0


def test_packets_out_of_order_keep_their_times() -> None:
    clock = MediaClock(RATE)
    clock.note(90_000, START + 1.03)
    late = clock.note(84_000, START + 1.06)
    assert clock.captured_at(late) == pytest.approx(START + 1.03 - 6000 / RATE)


@pytest.mark.parametrize("drift_ppm", [-100, 100])
def test_a_drifting_device_is_followed(drift_ppm: float) -> None:
    errors = play(MediaClock(RATE), seconds=600, fps=5, speed=1 + drift_ppm * 1e-6)
    assert max(abs(error - 0.03) for error in errors) < 0.005


def test_a_stalled_network_moves_no_capture_time() -> None:
    """For three seconds nothing arrives, then everything at once."""
    clock = MediaClock(RATE)
    play(clock, seconds=10)
    for n in range(45):
        position = clock.note(round((10 + n / 15) * RATE + ORIGIN) & 0xFFFFFFFF, START + 13.0 + n * 0.001)
        assert clock.captured_at(position) - (START + 10 + n / 15) == pytest.approx(0.03, abs=0.001)
    assert clock.epoch == 0


@pytest.mark.parametrize("jump_s", [-3600.0, -30.0, 30.0, 3600.0])
def test_a_jump_of_the_timestamps_is_noticed_at_once(jump_s: float) -> None:
    clock = MediaClock(RATE)
    play(clock, seconds=10)
    errors = play(clock, seconds=10, from_s=10, origin=ORIGIN + round(jump_s * RATE))
    assert errors == pytest.approx([0.03] * 150, abs=0.001)
    assert clock.epoch == 1


def test_a_sender_that_paused_its_clock_is_understood_within_seconds() -> None:
    clock = MediaClock(RATE)
    play(clock, seconds=10)
    errors = play(clock, seconds=10, from_s=10, origin=ORIGIN - 3 * RATE)  # media time stood still for 3 s
    assert errors[-1] == pytest.approx(0.03, abs=0.001)
    assert sum(abs(error) > 0.1 for error in errors) <= 15 * 2.2


def test_a_longer_way_does_not_pass_for_a_later_capture_until_it_must() -> None:
    """Two hundred milliseconds more on the way: true for as long as the faster way is remembered."""
    clock = MediaClock(RATE)
    play(clock, seconds=30)
    errors = play(clock, seconds=60, from_s=30, delay_s=0.23)
    assert errors[15 * 15] == pytest.approx(0.03, abs=0.001)
    assert errors[-1] == pytest.approx(0.23, abs=0.001)


def test_sound_is_dated_by_its_end() -> None:
    clock = MediaClock(48_000)
    for n in range(100):
        end = START + (n + 1) * 0.06
        position = clock.note(n * 2880, end + 0.02, duration=2880)
        assert clock.captured_at(position) == pytest.approx(START + n * 0.06 + 0.02)


def test_memory_is_bounded() -> None:
    clock = MediaClock(RATE)
    play(clock, seconds=600, fps=30, speed=0.9999)
    assert len(clock._minima) < 50
