"""Synthetic speech by eSpeak NG: the library out of the ``espeakng-loader`` wheel, called through ctypes."""

from __future__ import annotations

import ctypes
import os
import tempfile
import threading
from _ctypes import dlclose
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

# From eSpeak NG's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_EE_OK = 0
_RATE_PARAMETER = 1
_WORDS_PER_MINUTE = 155
_LONGEST_PATH = 150  # the library cuts longer ones off and then looks for its voices where it was built

_SynthCallback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_lock = threading.Lock()  # the library speaks with one tongue per process


class VoiceError(RuntimeError):
    """eSpeak NG could not be started, or does not know the voice."""


def speak(text: str, *, voice: str) -> tuple[NDArray[np.float32], int]:
    """Read ``text`` aloud, the same each time; return samples in -1…1 and their rate in Hz.

    ``voice`` is one of eSpeak NG's names, with a variant if wanted: ``gmw/en``, ``gmw/en-US+f2``.
    """
    with _lock, _data_path() as data_path, _library() as library:
        rate = int(
            library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, os.fsencode(data_path), _INITIALIZE_DONT_EXIT)
        )
        if rate <= 0:
            raise VoiceError(f"eSpeak NG did not start with the voices in {data_path} (answer {rate})")
        try:
            return _synthesise(library, text, voice), rate
        finally:
            library.espeak_Terminate()


@contextmanager
def _library() -> Iterator[ctypes.CDLL]:
    """Load the library afresh: the flutter of one utterance's voice would go on in the next, other each time."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        yield library
    finally:
        dlclose(library._handle)


@contextmanager
def _data_path() -> Iterator[Path]:
    """Yield the directory of the voices, by a shorter name if need be."""
    path = Path(espeakng_loader.get_data_path())
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        yield path
        return
    with tempfile.TemporaryDirectory() as directory:
        short = Path(directory) / "espeak-ng-data"
        short.symlink_to(path, target_is_directory=True)
        yield short


def _synthesise(library: ctypes.CDLL, text: str, voice: str) -> NDArray[np.float32]:
    chunks: list[NDArray[np.int16]] = []

    def collect(wav: ctypes._Pointer[ctypes.c_short] | None, count: int, _events: int | None) -> int:
        if wav and count > 0:
            chunks.append(np.ctypeslib.as_array(wav, (count,)).astype(np.int16))
        return 0

    callback = _SynthCallback(collect)
    library.espeak_SetSynthCallback(callback)
    if library.espeak_SetVoiceByName(voice.encode()) != _EE_OK:
        raise VoiceError(f"eSpeak NG knows no voice {voice!r}")
    library.espeak_SetParameter(_RATE_PARAMETER, _WORDS_PER_MINUTE, 0)
    data = text.encode()
    done = library.espeak_Synth(data, ctypes.c_size_t(len(data) + 1), 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
    if done != _EE_OK or library.espeak_Synchronize() != _EE_OK or not chunks:
        raise VoiceError(f"eSpeak NG said nothing for {voice!r} (answer {done})")
    return (np.concatenate(chunks) / 32768.0).astype(np.float32)
