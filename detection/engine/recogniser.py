"""Turn speech into text: Whisper (MIT) by ``onnx-asr``, an optional package that only this file knows.

Both are for installations that ask for them: ``requirements-transcript.txt`` and the group ``transcript`` of weights.
"""

from __future__ import annotations

import importlib
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detection.engine.detectors.transcript import Whisper
from detection.engine.model import Array, Heard, Model
from detection.engine.runtime import TimedModel, session_options
from detection.engine.weights import OWN, WeightsUnavailableError, is_fetched, load_manifest, weights_path

_MAX_TOKENS = 120
"""Ten seconds of fast speech are some 80; without a bound, noise that the network loops on would cost eight seconds."""
_MAX_REPETITION = 2.4
"""Text that zlib shrinks more than this says the same over and over: nothing that was said. From OpenAI's Whisper."""
_LANGUAGE = re.compile(r"<\|([a-z]{2,3})\|>")


class WhisperRecogniser(TimedModel):
    """Whisper in ONNX Runtime, one recording at a time: Whisper's features depend on the loudest in a batch."""

    input_names = ["samples"]

    def __init__(self, name: str, paths: Mapping[str, Path], *, device: str) -> None:
        whisper = importlib.import_module("onnx_asr.models.whisper")
        features = importlib.import_module("onnx_asr.preprocessors.numpy_preprocessor")
        options, providers = session_options(device)
        self._whisper: Any = whisper.WhisperHf(
            dict(paths), features.WhisperPreprocessorNumpy, {"sess_options": options, "providers": providers}
        )
        super().__init__(name, str(self._whisper._encoder.get_providers()[0]))
        self.models: tuple[Model, ...] = (self,)
        self._languages = np.array(
            [number for number, token in self._whisper._vocab.items() if _LANGUAGE.fullmatch(token)], np.int64
        )

    def hear(self, samples: NDArray[np.float32]) -> Heard:
        """Write down up to 30 s of sound, float32 mono at 16 kHz."""
        (tokens,) = self.run({"samples": samples})
        text = str(self._whisper._decode_tokens(tokens).text).strip()
        return Heard("" if _repeats_itself(text) else text, self._whisper._vocab[int(tokens[1])].strip("<|>"))

    def _run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Return the tokens, int64 ``(T,)``, the language's at index 1.

        ``recognize_batch`` of the package takes any special token for a language and sets no bound to the text.
        """
        samples = feeds["samples"]
        encoded = self._whisper._encode(samples[None], np.array([len(samples)], np.int64))
        start = self._whisper._detect_lang_input
        logits, _ = self._whisper._decode(start, self._whisper._create_state(), encoded)
        prompt = self._whisper._transcribe_input.copy()
        prompt[0, 1] = self._languages[int(logits[0, -1, self._languages].argmax())]
        return [self._whisper._decoding(encoded, prompt, _MAX_TOKENS)[0]]


def load_recogniser(whisper: Whisper, device: str) -> WhisperRecogniser:
    """Load a Whisper on ``device``; ``WeightsUnavailableError`` says what to install where it is not."""
    manifest = load_manifest()
    missing = [manifest[name].group for name in whisper.files.values() if not is_fetched(name)]
    if groups := [group for group in dict.fromkeys(missing) if group != OWN]:
        commands = " && ".join(f"make weights GROUP={group}" for group in groups)
        raise WeightsUnavailableError(f"its weights are not fetched: run `{commands}`")
    paths = {part: weights_path(name) for part, name in whisper.files.items()}
    try:
        return WhisperRecogniser(whisper.name, paths, device=device)
    except ModuleNotFoundError as error:
        raise WeightsUnavailableError(
            f"the package {error.name} is not installed: run `pip install -r requirements-transcript.txt`"
        ) from None


def _repeats_itself(text: str) -> bool:
    content = text.encode()
    return bool(content) and len(content) / len(zlib.compress(content)) > _MAX_REPETITION
