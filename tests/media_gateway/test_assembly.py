"""Packets become frames again, in order, whatever the network does."""

from __future__ import annotations

import random
from dataclasses import dataclass

from aiortc.codecs import depayload
from aiortc.codecs.vpx import Vp8Encoder
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtpPacket

from media_gateway.assembly import EncodedFrame, FrameAssembler, is_key_frame

VP8 = RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90_000, payloadType=96)
STEP = 6000


def vp8(number: int, *, key: bool = False, size: int = 3000) -> bytes:
    """Return what passes for a VP8 frame: its first bit tells key frames."""
    return bytes([0 if key else 1, number & 0xFF]) + bytes([number & 0xFF]) * (size - 2)


@dataclass
class Sender:
    """Cuts frames into RTP packets as a sender of VP8 does."""

    sequence: int = 65_530
    count: int = 0

    def send(self, data: bytes) -> list[RtpPacket]:
        payloads = Vp8Encoder._packetize(data, self.count)
        packets = []
        for payload in payloads:
            packet = RtpPacket(96, payload is payloads[-1], self.sequence & 0xFFFF, self.count * STEP, 7, payload)
            packet._data = depayload(VP8, payload)  # type: ignore[attr-defined]
            packets.append(packet)
            self.sequence += 1
        self.count += 1
        return packets

    def padding(self) -> RtpPacket:
        packet = RtpPacket(96, 0, self.sequence & 0xFFFF, (self.count - 1) * STEP, 7, b"")
        packet._data = b""  # type: ignore[attr-defined]
        self.sequence += 1
        return packet


class Receiver:
    def __init__(self) -> None:
        self.assembler = FrameAssembler()
        self.frames: list[EncodedFrame] = []
        self.now = 100.0

    def take(self, *packets: RtpPacket, step_s: float = 0.001) -> list[int]:
        """Take packets and return the numbers of the frames they completed."""
        new = []
        for packet in packets:
            self.now += step_s
            new += self.assembler.add("VP8", packet, packet.timestamp, self.now)
        self.frames += new
        return [frame.position // STEP for frame in new]


def test_a_frame_comes_out_with_its_last_packet() -> None:
    sender, receiver = Sender(), Receiver()
    *first, last = sender.send(vp8(0, key=True))
    assert len(first) >= 2
    assert receiver.take(*first) == []
    assert receiver.take(last) == [0]
    assert receiver.frames[0].data == vp8(0, key=True)
    assert receiver.frames[0].is_key
    assert receiver.frames[0].clean


def test_frames_survive_reordering_duplicates_and_the_wrap_of_sequence_numbers() -> None:
    sender, receiver, shuffle = Sender(), Receiver(), random.Random(3)
    frames = [vp8(n, key=n == 0) for n in range(60)]
    packets = [packet for data in frames for packet in sender.send(data)]
    receiver.take(packets[0])
    rest = [packet for packet in packets[1:] for _ in range(shuffle.choice([1, 1, 2]))]
    for start in range(0, len(rest), 6):
        window = rest[start : start + 6]
        shuffle.shuffle(window)
        receiver.take(*window)
    assert [frame.data for frame in receiver.frames] == frames
    assert all(frame.clean for frame in receiver.frames)


def test_padding_is_no_frame() -> None:
    sender, receiver = Sender(), Receiver()
    receiver.take(*sender.send(vp8(0, key=True)), sender.padding(), sender.padding())
    assert receiver.take(*sender.send(vp8(1))) == [1]
    assert len(receiver.frames) == 2


def test_nothing_counts_before_the_first_key_frame_which_is_asked_for() -> None:
    sender, receiver = Sender(), Receiver()
    sender.send(vp8(0, key=True))
    receiver.take(*sender.send(vp8(1)))
    assert not receiver.assembler.wants_key_frame(receiver.now)
    assert receiver.assembler.wants_key_frame(receiver.now + 0.6)
    assert not receiver.assembler.wants_key_frame(receiver.now + 0.7)
    assert receiver.assembler.wants_key_frame(receiver.now + 1.2)
    assert receiver.frames == []
    assert receiver.take(*sender.send(vp8(2, key=True))) == [2]
    assert not receiver.assembler.wants_key_frame(receiver.now + 5)


def test_a_packet_sent_again_in_time_leaves_no_trace() -> None:
    sender, receiver = Sender(), Receiver()
    receiver.take(*sender.send(vp8(0, key=True)))
    first, missing, *rest = sender.send(vp8(1))
    assert receiver.take(first, *rest) == []
    assert receiver.take(*sender.send(vp8(2)), step_s=0.03) == []
    assert receiver.take(missing) == [1, 2]
    assert all(frame.clean for frame in receiver.frames)


def test_a_lost_packet_costs_its_frame_and_trust_until_the_next_key_frame() -> None:
    sender, receiver = Sender(), Receiver()
    receiver.take(*sender.send(vp8(0, key=True)))
    first, _, *rest = sender.send(vp8(1))
    receiver.take(first, *rest)
    numbers = []
    for n in range(2, 12):
        numbers += receiver.take(*sender.send(vp8(n)), step_s=0.02)
    assert numbers == list(range(2, 12))
    assert not any(frame.clean for frame in receiver.frames[1:])
    assert receiver.assembler.wants_key_frame(receiver.now)
    receiver.take(*sender.send(vp8(12, key=True)), *sender.send(vp8(13)))
    assert [frame.clean for frame in receiver.frames[-2:]] == [True, True]
    assert not receiver.assembler.wants_key_frame(receiver.now + 1)


def test_the_rest_of_a_frame_whose_beginning_is_lost_is_dropped() -> None:
    sender, receiver = Sender(), Receiver()
    receiver.take(*sender.send(vp8(0, key=True)))
    _, *rest = sender.send(vp8(1))
    receiver.take(*rest)
    receiver.now += 1
    assert receiver.take(*sender.send(vp8(2))) == [2]


def test_a_sender_that_gives_no_key_frame_is_believed_again_after_seconds() -> None:
    sender, receiver = Sender(), Receiver()
    receiver.take(*sender.send(vp8(0, key=True)))
    sender.send(vp8(1))
    receiver.take(*sender.send(vp8(2)))
    receiver.now += 1
    receiver.take(*sender.send(vp8(3)))
    assert not receiver.frames[-1].clean
    receiver.now += 3.1
    receiver.take(*sender.send(vp8(4)))
    assert receiver.frames[-1].clean


def test_a_sender_that_starts_anew_is_followed() -> None:
    sender, receiver = Sender(), Receiver()
    receiver.take(*sender.send(vp8(0, key=True)), *sender.send(vp8(1)))
    sender.sequence += 20_000
    assert receiver.take(*sender.send(vp8(2))) == []  # not without a key frame
    assert receiver.take(*sender.send(vp8(3, key=True))) == [3]


def test_a_frame_without_a_marker_ends_where_the_next_begins() -> None:
    sender, receiver = Sender(), Receiver()
    packets = sender.send(vp8(0, key=True))
    packets[-1].marker = 0
    assert receiver.take(*packets) == []
    assert receiver.take(*sender.send(vp8(1)))[:1] == [0]


def test_memory_is_bounded_when_a_hole_never_closes() -> None:
    sender, receiver = Sender(), Receiver()
    receiver.take(*sender.send(vp8(0, key=True)))
    sender.send(vp8(1))
    for n in range(2, 900):
        receiver.take(*sender.send(vp8(n)), step_s=0.0)  # no time passes
        assert len(receiver.assembler._waiting) <= 1100
    assert receiver.frames


def test_key_frames_are_known() -> None:
    start = b"\x00\x00\x00\x01"
    assert is_key_frame("H264", start + b"\x67sps" + start + b"\x68pps" + start + b"\x65idr")
    assert not is_key_frame("H264", start + b"\x06sei" + start + b"\x41slice" + start + b"\x65")
    assert not is_key_frame("H264", b"")
    assert not is_key_frame("VP8", b"")
    assert is_key_frame("VP8", b"\x10")
    assert not is_key_frame("VP8", b"\x11")
