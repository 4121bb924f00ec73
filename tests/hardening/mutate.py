"""Valid things made wrong, the same way every time: bytes flipped, cut out, doubled; lines too."""

from __future__ import annotations

import random
from collections.abc import Iterator

SPECIAL = (
    b"\x00",
    b"\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"<script>",
    b"\r\n\r\n",
    b"%00",
)
TEXTS = ("", "\x00", "9" * 30, "-1", "0", "🙂", "\ud83d", "\u2028", "a" * 900, "::ffff:1.2.3.4", "../..", "%s%n", "nan")


def mutated(originals: list[bytes], count: int, *, seed: int) -> Iterator[bytes]:
    """Yield ``count`` variations, each a few steps away from one of ``originals``."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(originals))
        for _ in range(chance.randint(1, 4)):
            _step(data, chance)
        yield bytes(data)


def _step(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    match chance.randrange(5):
        case 0 if data:
            data[at % len(data)] = chance.randrange(256)
        case 1:
            del data[at:]
        case 2:
            del data[at : at + chance.randrange(64)]
        case 3:
            data[at:at] = data[at : at + chance.randrange(256)]
        case _:
            special = chance.choice(SPECIAL)
            data[at : at + len(special)] = special


def mutated_lines(original: str, count: int, *, seed: int) -> Iterator[str]:
    """Yield ``count`` variations of a text of lines: some left out, doubled, moved, or with other words."""
    chance = random.Random(seed)
    for _ in range(count):
        lines = original.splitlines()
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(lines))
            match chance.randrange(4):
                case 0:
                    del lines[at]
                case 1:
                    lines[at:at] = [lines[at]] * chance.choice((1, 5, 100))
                case 2:
                    lines.insert(chance.randrange(len(lines)), lines.pop(at))
                case _:
                    words = lines[at].split(" ")
                    words[chance.randrange(len(words))] = chance.choice(TEXTS)
                    lines[at] = " ".join(words)
        yield "\r\n".join(lines) + "\r\n"
