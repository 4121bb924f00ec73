"""Run the benchmarks one after the other, or those that are named: ``make bench ARGS="glue latency"``.

Each runs in a process of its own with its defaults; ``python -m benchmarks.NAME --help`` tells what can be set. The
exit status is non-zero when one could not be run; whether a figure is within its budget stands in its result.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

BENCHMARKS = {
    "glue": ["glue"],
    "latency": ["latency"],
    "capacity": ["capacity"],
    "gateway_memory": ["gateway_memory"],
    "delivery-webhook": ["delivery"],
    "delivery-kafka": ["delivery", "--transport", "kafka"],
    "delivery-grpc": ["delivery", "--transport", "grpc"],
    "sweep": ["sweep"],
    "kafka_send": ["kafka_send"],
    "sockets": ["sockets"],
    "retention": ["retention"],
    "duplicates": ["duplicates"],
}
"""By name, the module and its arguments."""


def main() -> int:
    """Run; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names or BENCHMARKS
    if unknown := set(names).difference(BENCHMARKS):
        parser.error(f"There is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}.")
    failed = [name for name in names if _run(*BENCHMARKS[name])]
    if failed:
        print(f"Could not be run: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(module: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", f"benchmarks.{module}", *arguments], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
