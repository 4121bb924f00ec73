"""Command line: ``python -m detection.engine.weights list|fetch|verify [--group GROUP]… [NAME]…``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from environ import Env

from detection.engine.weights.fetch import Fetcher
from detection.engine.weights.manifest import Weight, WeightsError, load_manifest
from detection.engine.weights.store import ROOT, Store, default_directory


def main(arguments: list[str]) -> int:
    """Run one subcommand; return 0, or 1 with the reason on standard error."""
    Env.read_env(ROOT / ".env")  # WEIGHTS_DIR may be set there
    options = _parse(arguments)
    try:
        store = Store(options.directory or default_directory())
        entries = _chosen(options, store)
        {"list": _list, "fetch": _fetch, "verify": _verify}[options.action](entries, store)
    except WeightsError as error:
        print(f"weights: {error}", file=sys.stderr)
        return 1
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m detection.engine.weights", description=__doc__)
    parser.add_argument("action", choices=["list", "fetch", "verify"])
    parser.add_argument("--group", action="append", help="only this group; may be repeated")
    parser.add_argument("--directory", type=Path, help="instead of WEIGHTS_DIR")
    parser.add_argument("name", nargs="*", help="only these entries and what belongs to them, whatever their group")
    return parser.parse_intermixed_args(arguments)


def _chosen(options: argparse.Namespace, store: Store) -> list[Weight]:
    """Return the entries named, or those of the groups: without one the group default; verify also what is there."""
    manifest = load_manifest()
    parts = [part for name in options.name if name in manifest for part in manifest[name].parts.values()]
    named = [*options.name, *parts]
    if unknown := [name for name in named if name not in manifest]:
        raise WeightsError(f"neither weights.toml nor EXTRA_WEIGHTS has an entry {', '.join(unknown)}")
    if named:
        return [manifest[name] for name in named]
    every_group = sorted({entry.group for entry in manifest.values()})
    if unknown := [group for group in options.group or [] if group not in every_group]:
        raise WeightsError(f"there is no group {', '.join(unknown)}; there are {', '.join(every_group)}")
    groups = options.group or (every_group if options.action == "list" else ["default"])
    return [
        entry
        for entry in manifest.values()
        if entry.group in groups
        or (options.action == "verify" and options.group is None and store.original(entry).exists())
    ]


def _list(entries: list[Weight], store: Store) -> None:
    rows = [(each.name, each.group, _state(each, store), f"{each.size / 1e6:.2f} MB", each.licence) for each in entries]
    name, group, state, size, licence = (max(len(row[column]) for row in rows) for column in range(5))
    for entry, row in zip(entries, rows, strict=True):
        print(f"{row[0]:{name}} {row[1]:{group}} {row[2]:{state}} {row[3]:>{size}}  {row[4]:{licence}} {entry.file}")


def _state(entry: Weight, store: Store) -> str:
    try:
        store.verify(entry)
    except WeightsError:
        return "wrong" if store.original(entry).exists() else "missing"
    return "present"


def _fetch(entries: list[Weight], store: Store) -> None:
    fetched = Fetcher(store).fetch(entries)
    present = sum(store.original(entry).exists() for entry in entries)
    print(f"weights: {present} files verified in {store.directory}, {fetched} of them fetched now")


def _verify(entries: list[Weight], store: Store) -> None:
    for entry in entries:
        store.verify(entry)
    print(f"weights: {len(entries)} files verified in {store.directory}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
