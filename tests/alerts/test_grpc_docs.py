"""docs/grpc.md: its table of codes is the code's, and its client works as printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from alerts.rpc import access
from proctor_site.embedded.ports import free_port
from tests.alerts import builders
from tests.alerts.grpc_peers import api_key, stream_process

ROOT = Path(__file__).resolve().parents[2]


def document() -> str:
    return (ROOT / "docs" / "grpc.md").read_text()


def test_every_code_is_documented_with_its_status_and_no_other() -> None:
    said = dict(re.findall(r"^\| `([a-z_]+)` \| `([A-Z_]+)` \| .+ \|$", document(), re.MULTILINE))
    assert said == {code: status.name for code, status in access.STATUS.items()}


@pytest.mark.django_db(transaction=True)
def test_the_documented_client_follows_and_resumes_as_it_is_printed(tmp_path: Path) -> None:
    (client,) = re.findall(r"```python\n(.*?)```", document(), re.DOTALL)
    (tmp_path / "client.py").write_text(client)
    (command,) = re.findall(r"# python (-m grpc_tools.protoc .*)", client)
    words = command.replace("-I proto", f"-I {ROOT / 'proto'}").split()
    subprocess.run([sys.executable, *words], cwd=tmp_path, check=True)
    owner, port = builders.organisation(), free_port()
    words = ["client.py", f"127.0.0.1:{port}", api_key(owner), "last"]
    with stream_process(tmp_path / "stream.log", port):
        for _ in range(2):  # the second one goes on where the first was killed
            alerts = [builders.apply(builders.session(owner)) for _ in range(3)]
            with subprocess.Popen([sys.executable, *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                said = [process.stdout.readline() for _ in alerts]
                while (tmp_path / "last").read_text() != str(alerts[-1].event_id):
                    assert process.poll() is None
                process.kill()
            assert said == [f"{alert.event_id} NO_FACE opened\n" for alert in alerts]
