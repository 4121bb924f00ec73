"""Ask a vulnerability service about every installed package, for ``make audit``.

Status 0: nothing is known of any. 1: something is; it is printed. 75: nobody could be asked; with ``--warn-if-unasked``
that is a warning and status 0, for a build that has no network.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

CLEAN: Final = 0
VULNERABLE: Final = 1
UNASKED: Final = 75  # EX_TEMPFAIL of sysexits.h
SERVICE: Final = "https://api.osv.dev/v1/query"
TIMEOUT_S: Final = 600


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit, print what is known, and return the status."""
    parser = argparse.ArgumentParser(prog="python -m proctor_site.dependency_audit", description=__doc__)
    parser.add_argument("--service", default=SERVICE, help="address of an OSV service")
    parser.add_argument("--warn-if-unasked", action="store_true")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("pip_audit") is None:
        print("pip_audit is not installed: `pip install -r requirements-dev.txt`.", file=sys.stderr)
        return UNASKED
    report = _report(options.service)
    if report is not None:
        return _tell(report)
    print(f"WARNING: the dependencies were NOT audited: {options.service} gave no answer.", file=sys.stderr)
    return CLEAN if options.warn_if_unasked else UNASKED


def _report(service: str) -> Mapping[str, Any] | None:
    """Return pip-audit's report, or None where the service gave none."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off"]
    command += ["--vulnerability-service", "osv", "--osv-url", service, "--timeout", "15"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)  # noqa: S603
        report: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None
    return report if done.returncode in (CLEAN, VULNERABLE) else None


def _tell(report: Mapping[str, Any]) -> int:
    packages = report["dependencies"]
    found = [(package, known) for package in packages for known in package.get("vulns", ())]
    for package, known in found:
        fixed = ", ".join(known["fix_versions"]) or "no version"
        print(f"{package['name']} {package['version']}: {known['id']}, fixed in {fixed}")
    print(f"{len(packages)} packages audited, {len(found)} known vulnerabilities.")
    return VULNERABLE if found else CLEAN


if __name__ == "__main__":
    sys.exit(main())
