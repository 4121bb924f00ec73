"""Run PostgreSQL as an ordinary account when this process is root: the server refuses root."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proctor_site.embedded.errors import EmbeddedError

ACCOUNTS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """An ordinary user of this machine."""

    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        """Return the arguments of ``subprocess`` that run a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, directory: Path) -> bool:
        """Return whether this account may reach ``directory`` through all its parents."""
        return self._succeeds(["/bin/sh", "-c", 'cd "$1"', "sh", str(directory)])

    def can_run(self, program: Path) -> bool:
        """Return whether this account may run ``program`` with its shared libraries."""
        return self._succeeds([str(program), "--version"])

    def _succeeds(self, command: list[str]) -> bool:
        try:
            done = subprocess.run(command, capture_output=True, cwd="/", check=False, **self.popen_arguments())
        except PermissionError:
            return False
        return done.returncode == 0


def account_for_services() -> Account | None:
    """Return the account to run PostgreSQL as; None when this process is an ordinary user's already."""
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and this machine has none of the accounts {', '.join(ACCOUNTS)}. "
        "Set DATABASE_URL to a server of your own, or start as an ordinary user."
    )
