"""The ledger of samples that were not handed on."""

from __future__ import annotations

from detection.messages import Stream, Technical
from media_gateway.gaps import GapLedger


def skip(ledger: GapLedger, at: float, *, session: str = "s", stream: Stream = Stream.VIDEO, reason: str = "r") -> None:
    ledger.skip(session, stream, reason, started_at=1000 + at, ended_at=1000.5 + at, now=at)


def test_skipped_samples_become_one_gap_when_it_is_over() -> None:
    ledger = GapLedger()
    for at in (0.0, 0.5, 1.0):
        skip(ledger, at)
        assert ledger.take_finished(at) == []
    assert ledger.take_finished(1.9) == []
    (gap,) = ledger.take_finished(2.0)
    assert (gap.kind, gap.session_id, gap.stream, gap.reason) == (Technical.GAP, "s", "video", "r")
    assert (gap.at, gap.until, gap.skipped) == (1000.0, 1001.5, 3)
    assert len(ledger) == 0
    assert ledger.take_finished(99.0) == []


def test_sessions_streams_and_reasons_are_kept_apart() -> None:
    ledger = GapLedger()
    skip(ledger, 0.0)
    skip(ledger, 0.0, session="t")
    skip(ledger, 0.0, stream=Stream.AUDIO)
    skip(ledger, 0.0, reason="q")
    gaps = ledger.take_all()
    assert {(gap.session_id, gap.stream, gap.reason) for gap in gaps} == {
        ("s", "video", "r"),
        ("t", "video", "r"),
        ("s", "audio", "r"),
        ("s", "video", "q"),
    }


def test_a_gap_that_goes_on_is_told_in_pieces() -> None:
    ledger, told = GapLedger(), []
    for number in range(200):
        skip(ledger, number * 0.5)
        told += ledger.take_finished(number * 0.5)
    told += ledger.take_all()
    assert len(told) == 4
    assert sum(gap.skipped for gap in told) == 200


def test_capture_times_out_of_order_widen_the_gap() -> None:
    ledger = GapLedger()
    ledger.skip("s", Stream.AUDIO, "r", started_at=5.0, ended_at=6.0, now=0.0)
    ledger.skip("s", Stream.AUDIO, "r", started_at=4.0, ended_at=5.0, now=0.1)
    (gap,) = ledger.take_all()
    assert (gap.at, gap.until) == (4.0, 6.0)
