from __future__ import annotations

from media_gateway.past import PastWindows


def filled(count: int) -> PastWindows:
    past = PastWindows()
    for second in range(count):
        assert [name for name, _ in past.before(float(second))] == [f"w{n}" for n in range(max(0, second - 10), second)]
        past.add(f"w{second}", 8000 if second else 0, float(second), second + 1.0)
    return past


def test_a_window_names_ten_seconds_before_it_oldest_first() -> None:
    assert filled(3).before(3.0) == (("w0", 0), ("w1", 8000), ("w2", 8000))
    assert [name for name, _ in filled(14).before(14.0)] == [f"w{n}" for n in range(4, 14)]


def test_nothing_before_a_gap_is_named() -> None:
    past = filled(3)
    assert past.before(3.5) == ()
    past.add("later", 0, 3.5, 4.5)
    assert past.before(4.5) == (("later", 0),)
