"""Another WHIP client than ours: see ``ffmpeg_client``."""

from __future__ import annotations

import asyncio
import datetime
import sys
import uuid
from asyncio.subprocess import PIPE
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.media_gateway.ffmpeg_client import COLOURS, TONE_HZ
from tests.media_gateway.publishers import join_token
from tests.media_gateway.world import KEY, GatewayUnderTest, Inbox, eventually


def certificate(directory: Path) -> list[str]:
    """Make a certificate and key for DTLS; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "publisher")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (directory / "cert.pem").write_bytes(made.public_bytes(encoding))
    (directory / "key.pem").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    return [str(directory / "cert.pem"), str(directory / "key.pem")]


async def test_ffmpeg_publishes_h264_and_opus(gateway: GatewayUnderTest, inbox: Inbox, tmp_path: Path) -> None:
    session_id = str(uuid.uuid4())
    url = f"{gateway.url}/whip/{session_id}"
    arguments = [url, join_token(KEY, session_id), *certificate(tmp_path)]
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.media_gateway.ffmpeg_client", *arguments, stdin=PIPE, stderr=PIPE
    )
    try:
        await eventually(
            lambda: client.returncode is not None or (len(inbox.collect().frames) >= 6 and len(inbox.windows) >= 3),
            timeout_s=30,
        )
        assert client.stdin is not None
        client.stdin.close()
        _, errors = await asyncio.wait_for(client.communicate(), 10)
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    assert client.returncode == 0, errors.decode()
    await eventually(lambda: "peer_lost" in inbox.kinds(), what="the end")
    check_pictures(inbox)
    check_sound(inbox)
    kinds = inbox.kinds(session_id)
    assert kinds[0] == "peer_connected"
    assert {"video_started", "audio_started"} <= set(kinds)


def check_pictures(inbox: Inbox) -> None:
    times = [frame.captured_at for frame in inbox.frames]
    assert np.diff(times).mean() == pytest.approx(0.5, abs=0.06)
    seen = set()
    for frame in inbox.frames:
        mean = simplejpeg.decode_jpeg(inbox.data(frame), "BGR").reshape(-1, 3).mean(axis=0)
        errors = [np.abs(mean - np.array(colour)).max() for colour in COLOURS]
        assert min(errors) < 16, mean
        seen.add(int(np.argmin(errors)))
    assert seen == {0, 1}


def check_sound(inbox: Inbox) -> None:
    for window in inbox.windows:
        samples = np.frombuffer(inbox.data(window), "<i2").astype(float)[window.lead_in_samples :]
        assert len(samples) == 16_000
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
        assert np.fft.rfftfreq(len(samples), 1 / 16_000)[spectrum.argmax()] == pytest.approx(TONE_HZ, abs=2)
        assert np.abs(samples).max() == pytest.approx(9000, rel=0.2)
