"""Find faces: YuNet 2023mar (OpenCV Zoo, MIT), looked at once, and again in other ways where nobody is certain."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from detection.engine import geometry, yunet
from detection.engine.model import FACE_DETECTOR, Model
from detection.engine.observations import VIDEO, Face, FacesMeasure
from detection.engine.samples import VideoSample

MODEL_NAME = FACE_DETECTOR

MAX_SIDE = 640
"""Larger pictures are scaled down to this: a webcam's second person is found, and each doubling costs four times."""
_RETRY_SIDE = 160
_CERTAIN = 0.8
"""A face that fills the picture is larger than the network's field of view. Where nothing is certain, a small copy is
looked at too: a sixteenth of the cost."""
_POSSIBLE = 0.6
"""Where nothing reaches this, a small copy with its tones stretched is looked at: of 75 frames too dark to find the
face in, it showed 18, and none in 102 pictures of nobody. Another 1.5 ms, and only where nobody is seen."""

_ENLARGED = 3.0
_MARGIN = 0.25
"""Stills are looked at harder: enlarged this much at most, with a margin of this share of their longer side (a face cut
out tightly lacks the shoulders the network expects). Of 241 poor photographs without a face, 102 had one then."""
_UPRIGHT = 0.9
"""Upright faces mostly score more, lying ones never do. Below, stills are looked at turned as well."""
_TURNED_GAINS = {90: 0.05, -90: 0.05, 45: 0.05, -45: 0.05, 180: 0.1}
"""Degrees clockwise by which a picture is turned → so much more certain a face must be in it to be lying or tilted in
the picture as it is: the network finds lying faces as well, and those upside down quite surely, with their landmarks in
the wrong places. Of 64 photographs turned by 30 to 90 degrees none was left without a face then, nor without a pose."""

Image = NDArray[np.uint8]


class FaceDetector:
    """Finds every face in a picture."""

    name = "faces"
    stream = VIDEO

    def __init__(self, model: Model) -> None:
        self._model = model
        self.models = (model,)

    def detect(self, image: Image, *, thorough: bool = False) -> list[Face]:
        """Find faces, largest first; empty when nobody is visible.

        ``image`` is BGR uint8, shape ``(H, W, 3)``. Each face has ``box_xyxy`` in pixels of that image, and landmarks
        from the image's left to its right. ``thorough``: see ``detect_many``.
        """
        return self.detect_many([image], thorough=thorough)[0]

    def detect_many(self, images: Sequence[Image], *, thorough: bool = False) -> list[list[Face]]:
        """Find the faces of several pictures; on a GPU eight go in one run.

        ``thorough`` is for photographs, of which there is only the one: small ones are enlarged, and those of tilted or
        lying heads turned, where nobody is certain. Landmarks are then from the *face's* right to its left.
        """
        return self.find(images, [thorough] * len(images))

    def due(self, sample: VideoSample) -> bool:
        """Look at every frame."""
        return sample.job.policy.detectors.faces.enabled

    def measure(self, samples: Sequence[VideoSample]) -> list[FacesMeasure]:
        """Count the faces of each frame as its policy has it.

        One without a predecessor is looked at as a photograph is: a still is the only one there is, and in a session's
        first frame the candidate must be found.
        """
        stills = [sample.job.previous_captured_at is None for sample in samples]
        found = self.find([sample.job.frame.image for sample in samples], stills)
        return [_measure(sample, faces) for sample, faces in zip(samples, found, strict=True)]

    def find(self, images: Sequence[Image], thorough: Sequence[bool]) -> list[list[Face]]:
        """Find the faces of several pictures; ``thorough`` says of each what ``detect_many`` says of all.

        What another network's detector has of its own.
        """
        found = yunet.find(self._model, images, MAX_SIDE)
        self._again(images, found, unless=_CERTAIN, prepare=lambda image: image)
        self._again(images, found, unless=_POSSIBLE, prepare=_toned)
        for index in _without(found, _UPRIGHT):
            if thorough[index]:
                found[index] = self._harder(images[index], found[index])
        return found

    def _again(
        self,
        images: Sequence[Image],
        found: list[list[Face]],
        *,
        unless: float,
        prepare: Callable[[Image], Image],
    ) -> None:
        """Look at small copies of the pictures in which no face reaches ``unless``; add to ``found`` what they show."""
        unsure = _without(found, unless)
        small = [yunet.scale_down(images[index], _RETRY_SIDE) for index in unsure]
        faces = yunet.find(self._model, [prepare(copy) for copy, _ in small], _RETRY_SIDE)
        for index, (_, factor), more in zip(unsure, small, faces, strict=True):
            found[index] = yunet.suppress([*found[index], *(_moved(face, 1 / factor) for face in more)])

    def _harder(self, image: Image, found: list[Face]) -> list[Face]:
        """Look at an enlarged copy with a margin, and at the picture turned."""
        best = yunet.suppress([*found, *self._enlarged(image)])
        certainty = _certainty(best)
        if certainty >= _UPRIGHT:
            return best
        for degrees, gain in _TURNED_GAINS.items():
            turned = self._turned(image, degrees)
            # A head that lies is upside down in one of them, where it scores nearly as much: the most certain is right.
            if _certainty(turned) >= max(_CERTAIN, certainty + gain, _certainty(best)):
                best = turned
        return best

    def _turned(self, image: Image, degrees: int) -> list[Face]:
        """Find the faces of a picture turned clockwise, in the pixels of the picture as it is."""
        small, factor = yunet.scale_down(image, MAX_SIDE)
        height, width = small.shape[:2]
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), -degrees, 1.0)
        size = np.rint(np.abs(turn[:, :2]) @ (width, height)).astype(int)
        turn[:, 2] += (size - (width, height)) / 2
        filled = cv2.warpAffine(small, turn, (int(size[0]), int(size[1])), borderValue=_grey(small))
        back = np.asarray(cv2.invertAffineTransform(turn), np.float64)
        found = yunet.find(self._model, [np.asarray(filled, np.uint8)], max(filled.shape))[0]
        return [_moved(_turned_back(face, back, sideways=degrees % 180 == 90), 1 / factor) for face in found]

    def _enlarged(self, image: Image) -> list[Face]:
        height, width = image.shape[:2]
        factor = min(_ENLARGED, MAX_SIDE / max(height, width))
        if factor < 1:
            copy, factor = yunet.scale_down(image, MAX_SIDE)
        else:
            copy = np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC), np.uint8)
        margin = round(_MARGIN * max(copy.shape[:2]))
        framed = cv2.copyMakeBorder(copy, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=_grey(copy))
        found = yunet.find(self._model, [np.asarray(framed, np.uint8)], max(framed.shape))[0]
        return [_moved(face, 1 / factor, -margin / factor) for face in found]


def _certainty(faces: Sequence[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _without(found: Sequence[Sequence[Face]], score: float) -> list[int]:
    """Return the positions of the pictures in which no face is at least so certain."""
    return [index for index, faces in enumerate(found) if not any(face.score >= score for face in faces)]


def _toned(image: Image) -> Image:
    """Return a dark or flat picture with its noise smoothed and its tones spread over the whole scale, dark ones more.

    ``image`` is BGR uint8; the darkest and brightest hundredth end up at the ends, mid-tones are raised by a root.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32)
    low, high = np.percentile(smooth.mean(axis=2), (1, 99))
    spread = ((smooth - low) / max(float(high - low), 4.0)).clip(0, 1)
    return np.asarray(255 * np.sqrt(spread), np.uint8)


def _moved(face: Face, factor: float, offset: float = 0.0) -> Face:
    """Return a face found in a scaled and shifted copy, in the original's pixels."""
    left, top, right, bottom = (edge * factor + offset for edge in face.box_xyxy)
    return Face((left, top, right, bottom), face.score, (face.landmarks * factor + offset).astype(np.float32))


def _turned_back(face: Face, back: NDArray[np.float64], *, sideways: bool) -> Face:
    """Return a face found in a turned copy, by the ``(2, 3)`` matrix to where it was found in the picture as it is.

    ``sideways``: height and width of its box change places. Landmarks stay in the face's own order.
    """
    left, top, right, bottom = face.box_xyxy
    x, y = back[:, :2] @ ((left + right) / 2, (top + bottom) / 2) + back[:, 2]
    width, height = (bottom - top, right - left) if sideways else (right - left, bottom - top)
    box = float(x - width / 2), float(y - height / 2), float(x + width / 2), float(y + height / 2)
    landmarks = (face.landmarks @ back[:, :2].T + back[:, 2]).astype(np.float32)
    return dataclasses.replace(face, box_xyxy=box, landmarks=landmarks)


def _grey(image: Image) -> list[float]:
    """Return a picture's mean colour, with which it is framed."""
    return [float(value) for value in image.reshape(-1, 3).mean(axis=0)]


def _measure(sample: VideoSample, faces: list[Face]) -> FacesMeasure:
    parameters = sample.job.policy.detectors.faces
    possible = tuple(face for face in faces if face.score >= parameters.min_score)
    count = sum(face.score >= parameters.sure_score for face in possible)
    if not possible:
        return FacesMeasure(possible, count)
    image = sample.job.frame.image
    largest = possible[0]
    return FacesMeasure(possible, count, largest.width_px, geometry.inside_share(largest.landmarks, image.shape[:2]))
