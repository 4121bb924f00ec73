"""What the demo prints: the table of scripted against found incidents, and whom to thank."""

from __future__ import annotations

from demo.people import PEOPLE
from demo.verdict import Line, Verdict, delays_ms
from detection.engine.weights import load_manifest, weights_path

_HEAD = ("event", "scripted", "found", "alert after", "WebSocket", "webhook", "")


def table(verdict: Verdict) -> str:
    """Draw the table. Times are minutes and seconds of the clip."""
    rows = [_HEAD, *(_row(line) for line in verdict.lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    drawn = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    drawn.insert(1, "─" * max(len(line) for line in drawn))
    return "\n".join(drawn)


def summary(verdict: Verdict) -> str:
    """Say in a line how it went."""
    scripted = [line for line in verdict.lines if line.expected]
    good = sum(not line.wrong for line in scripted)
    more = len(verdict.lines) - len(scripted)
    delays = delays_ms(verdict.lines)
    slowest = f" Slowest alert: {max(delays):.0f} ms beyond the rule's hold time." if delays else ""
    word = "PASSED" if verdict.passed else "FAILED"
    return f"{word}: {good} of {len(scripted)} scripted incidents found, {more} beyond the script.{slowest}"


def credits() -> str:  # noqa: A001  # the word for it
    """Name the photographs' authors and licences, as the licences ask."""
    manifest = load_manifest()
    shown = [
        (person.letter, use, name)
        for person in PEOPLE.values()
        for use, name in (("enrolled", person.enrolled), ("in the clip", person.filmed))
        if name
    ]
    lines = [f"  {letter} {use:<11}  {manifest[name].credit or manifest[name].licence}" for letter, use, name in shown]
    return "\n".join([*lines, f"  photo-credits: {weights_path('photo-credits')}"])


def left_out(rules: list[str]) -> str:
    """Say what the demo's own policy leaves out, given the rules of this version that it switches off."""
    named = ", ".join(rules)
    if named:
        return f"Its own policy leaves out what moving photographs would rightly trigger: {named}."
    return (
        "Its own policy leaves out presentation attack and gaze, which moving photographs would rightly trigger "
        "(this version has no such rules yet)."
    )


def clock(seconds: float) -> str:
    """Write seconds as ``1:23.4``."""
    tenths = round(seconds * 10)
    return f"{'-' if tenths < 0 else ''}{abs(tenths) // 600}:{abs(tenths) % 600 / 10:04.1f}"


def _row(line: Line) -> tuple[str, ...]:
    expected, found = line.expected, line.found
    some = expected or found
    assert some is not None, "a line tells of something expected or found"
    return (
        some.event_type,
        _span(expected.start_s, expected.end_s) if expected else "",
        _span(found.onset_s, found.end_s) if found else "",
        f"{found.delay_s * 1000:.0f} ms" if found and found.delay_s is not None else "",
        _tick(bool(found)),
        _tick(line.by_webhook),
        line.wrong,
    )


def _span(start_s: float, end_s: float | None) -> str:
    return f"{clock(start_s)} to {clock(end_s) if end_s is not None else '…'}"


def _tick(there: bool) -> str:
    return "✓" if there else "✗"
