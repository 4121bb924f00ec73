"""Model cards: per detector what it is for, what it was measured on, with which result, and what nobody knows about it.

The words are in ``cards.toml``, the figures in docs/accuracy.json, as evaluations wrote them. The same text stands in
docs/accuracy.md below ``MARK``; ``manage.py models card --write`` puts it there.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detection.engine.detectors import DETECTORS
from detection.engine.weights import load_manifest
from detection.engine.weights.store import ROOT
from detection.evaluation.record import load_runs
from detection.evaluation.report import COUNT, NUMBER, SHARE

CARDS = Path(__file__).with_name("cards.toml")
DOCUMENT = ROOT / "docs" / "accuracy.md"
MARK = "<!-- From here on written by `manage.py models card --write`. -->"
NOT_MEASURED = "Not measured on labelled data yet."


@dataclass(frozen=True, slots=True)
class Card:
    """The words about one detector. ``figures``: task, or ``task/name`` of one run → the figures to show of it."""

    detector: str
    title: str
    measures: str
    failures: Sequence[str]
    fairness: str
    figures: Mapping[str, Sequence[str]]


def load_cards(path: Path = CARDS) -> dict[str, Card]:
    """Return the cards by detector's name."""
    document = tomllib.loads(path.read_text())
    return {name: Card(detector=name, **words) for name, words in document.items()}


def render(
    cards: Mapping[str, Card], runs: Sequence[Mapping[str, Any]], *, detectors: Iterable[str] = DETECTORS
) -> str:
    """Return the cards of these detectors as Markdown; one without words is said to have none."""
    texts = [
        _card(cards[name], runs) if name in cards else f"### `{name}`\n\nThis detector has no card yet."
        for name in detectors
    ]
    return "\n\n".join(texts) + "\n"


def text(detectors: Iterable[str] = DETECTORS) -> str:
    """Return the cards as they are to be printed."""
    return render(load_cards(), load_runs(), detectors=detectors)


def write(path: Path = DOCUMENT) -> None:
    """Put the cards into the document, below the mark."""
    above, mark, _ = path.read_text().partition(MARK)
    if not mark:
        raise ValueError(f"{path} lacks the line {MARK}")
    path.write_text(f"{above}{MARK}\n\n{text()}")


def main(arguments: list[str]) -> int:
    """Print the cards, or with ``--write`` put them into docs/accuracy.md."""
    if arguments == ["--write"]:
        write()
    else:
        print(text(arguments or DETECTORS), end="")
    return 0


def _card(card: Card, runs: Sequence[Mapping[str, Any]]) -> str:
    parts = [f"### `{card.detector}`: {card.title}", card.measures, *_weights(card.detector)]
    parts += [_run(run, names) for run in runs if (names := _shown(card, run))] or [f"**Measured:** {NOT_MEASURED}"]
    parts.append("**Known failures:**\n" + "\n".join(f"- {failure}" for failure in card.failures))
    parts.append(f"**Fairness:** {card.fairness}")
    return "\n\n".join(parts)


def _shown(card: Card, run: Mapping[str, Any]) -> Sequence[str]:
    """Return the figures of a run that a card shows; none where the run is about something else."""
    return card.figures.get(f"{run['task']}/{run['name']}") or card.figures.get(run["task"], ())


def _weights(detector: str) -> list[str]:
    """Return a sentence about the networks of a detector; none where it has none."""
    entry, manifest = DETECTORS.get(detector), load_manifest()
    names = dict.fromkeys(reference.partition("!")[0] for reference in (entry.weights if entry else ()))
    files = [f"`{name}` ({manifest[name].licence}, sha256 {manifest[name].sha256[:16]}…)" for name in names]
    return [f"**Weights:** {', '.join(files)}."] if files else []


def _run(run: Mapping[str, Any], names: Sequence[str]) -> str:
    kind = "generated data" if run["generated"] else "data"
    lines = [f"**Measured** on {kind} *{run['name']}* ({run['measured_on']}, n {run['n']}): {run['data']}", ""]
    lines += ["| figure | value | 95 % interval | n |", "|---|---|---|---|"]
    lines += [_line(name, run["figures"][name]) for name in names if name in run["figures"]]
    for group, figures in run.get("groups", {}).items():
        lines += [_line(name, figures[name], group) for name in names if name in figures]
    lines += ["", *(f"    {command}" for command in run["commands"])]
    return "\n".join(lines)


def _line(name: str, figure: Mapping[str, Any], group: str = "") -> str:
    shown = f"`{name}`" + (f", {group}" if group else "")
    unit = "" if figure["unit"] in (SHARE, COUNT, NUMBER) else f" {figure['unit']}"
    value = "-" if figure["value"] is None else f"{figure['value']:.4g}{unit}"
    interval = "-" if figure["low"] is None else f"{figure['low']:.4g} to {figure['high']:.4g}"
    return f"| {shown} | {value} | {interval} | {figure['n']} |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
