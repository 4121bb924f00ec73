"""Find and stop processes: our own children, and those that a killed supervisor left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil

MARKER = "SD_PROCTOR_RUN"
"""Environment variable that every process of a run inherits; its value is the run's directory."""


def stop_processes(processes: Iterable[psutil.Process], *, first: signal.Signals, grace_s: float) -> None:
    """Send ``first`` to each process, wait up to ``grace_s`` for all of them, then kill those that remain.

    psutil refuses to signal a process whose id was given to another program meanwhile.
    """
    alive = [process for process in processes if _send(process, first)]
    _, stubborn = psutil.wait_procs(alive, timeout=grace_s)
    for process in stubborn:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=5)


def _send(process: psutil.Process, number: signal.Signals) -> bool:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True


def with_descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return the processes and all that they started, each once."""
    found: dict[int, psutil.Process] = {}
    for process in processes:
        found[process.pid] = process
        try:
            found.update((child.pid, child) for child in process.children(recursive=True))
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


def marked_processes(run: Path) -> list[psutil.Process]:
    """Return the processes whose environment names ``run``, but for this one and its ancestors."""
    excluded = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [p for p in psutil.process_iter() if p.pid not in excluded and _marker(p) == str(run)]


def _marker(process: psutil.Process) -> str | None:
    try:
        return process.environ().get(MARKER)
    except (psutil.Error, OSError):  # another user's process, or one that just ended
        return None


class Ledger:
    """A file that notes the id and command line of each started service, so that a later start can find it.

    Ids are reused by the system: a noted process counts as ours only while its command line is the noted one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Note a process just started under ``name``.

        Its command line is taken from the caller: the system shows an empty one for a moment while a program starts.
        """
        entries = self._read()
        entries[name] = {"pid": process.pid, "command_line": process.args}
        self._path.write_text(json.dumps(entries))

    def forget(self, name: str) -> None:
        """Strike ``name`` out."""
        entries = self._read()
        entries.pop(name, None)
        self._path.write_text(json.dumps(entries))

    def alive(self) -> dict[str, psutil.Process]:
        """Return the noted processes that still run the noted command."""
        found: dict[str, psutil.Process] = {}
        for name, entry in self._read().items():
            try:
                process = psutil.Process(int(entry["pid"]))
                if process.cmdline() == entry["command_line"]:
                    found[name] = process
            except psutil.NoSuchProcess:
                continue
        return found

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            entries: dict[str, dict[str, Any]] = json.loads(self._path.read_text())
        except (FileNotFoundError, ValueError):  # none yet, or half written by a killed process
            return {}
        return entries
