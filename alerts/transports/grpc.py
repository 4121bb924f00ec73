"""gRPC push: calls the platform's own ``AlertReceiver.Deliver`` (proto/alerts.proto), of which only OK is success."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

import grpc

from alerts import addresses
from alerts.outgoing import EXCERPT_BYTES, Answer, Outgoing, Result, TransportError
from alerts.rpc import alerts_pb2, channels
from alerts.rpc.channels import CHANNELS, Place
from alerts.rpc.messages import DELIVER_PATH, alert_message
from alerts.signing import Kind

MAX_BATCH = 32
SECRETS = frozenset({Kind.HMAC})
"""It is shown, not signed with: that is nothing for a private key."""

DEADLINE_S = 10.0
"""Of one call, connecting included."""
BUDGET_S = 25.0
"""Of one batch: no turn begins later. It may take two calls' time, where a secret is being changed."""

_PERMANENT: Final = frozenset(
    {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.OUT_OF_RANGE}
)
"""About the alert, or the receiver's lack of the method: the same call ends the same way. All else may pass."""


class _Call(Protocol):
    """What gRPC returns of a call that is under way."""

    def result(self) -> alerts_pb2.DeliverReply: ...
    def code(self) -> grpc.StatusCode: ...
    def details(self) -> str | None: ...
    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None: ...


_Deliver = Callable[[Outgoing], _Call]


def check(address: str) -> None:
    """Raise ``AddressRefusedError`` unless the address is ``grpc(s)://host:port`` of a host that alerts may go to.

    A name that does not resolve now passes: that may be over before the first alert.
    """
    try:
        channels.resolve(channels.parse(address))
    except addresses.NameUnresolvedError:
        return


def send(messages: Sequence[Outgoing]) -> list[Result]:
    """Deliver the alerts, at once those of different sessions and one after the other those of the same."""
    if not messages:
        return []
    try:
        place = channels.parse(messages[0].address)
        channel = CHANNELS.get(place)
    except (addresses.AddressRefusedError, OSError) as error:  # OSError: no such name, or a file of ours is missing
        return _all_failed(messages, str(error))
    return _send_all(messages, partial(_call, channel), place)


def _all_failed(messages: Sequence[Outgoing], why: str) -> list[Result]:
    """Fail the first alert of each session, and hold the others."""
    seen: set[str] = set()
    results: list[Result] = []
    for message in messages:
        results.append(_held() if message.session_id in seen else TransportError(why))
        seen.add(message.session_id)
    return results


def _send_all(messages: Sequence[Outgoing], deliver: _Deliver, place: Place) -> list[Result]:
    results: list[Result] = [_held() for _ in messages]
    until = time.monotonic() + BUDGET_S
    failed: set[str] = set()
    for turn in _turns(messages):
        if time.monotonic() >= until:
            break
        wanted = {number: messages[number] for number in turn if messages[number].session_id not in failed}
        for number, result in _send_turn(wanted, deliver, place).items():
            results[number] = result
            if isinstance(result, TransportError):
                failed.add(messages[number].session_id)
    return results


def _send_turn(messages: Mapping[int, Outgoing], deliver: _Deliver, place: Place) -> dict[int, Result]:
    """Deliver alerts of different sessions at once; with the older secret those that know the newest not yet."""
    calls = {number: (deliver(message), time.monotonic()) for number, message in messages.items()}
    results = {number: _outcome(call, started, place) for number, (call, started) in calls.items()}
    unknown = [number for number, (call, _) in calls.items() if call.code() is grpc.StatusCode.UNAUTHENTICATED]
    older = {number: secrets for number in unknown if (secrets := messages[number].secrets[1:])}
    again = {number: replace(messages[number], secrets=secrets) for number, secrets in older.items()}
    return results | _send_turn(again, deliver, place) if again else results


def _turns(messages: Sequence[Outgoing]) -> list[list[int]]:
    """Return the numbers of the first message of every session, then those of the second, and so on."""
    counts: dict[str, int] = {}
    turns: list[list[int]] = []
    for number, message in enumerate(messages):
        turn = counts[message.session_id] = counts.get(message.session_id, -1) + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(number)
    return turns


def _held() -> TransportError:
    return TransportError("An earlier alert of the session was not taken, or the time was over.", held=True)


def _call(channel: grpc.Channel, message: Outgoing) -> _Call:
    deliver = channel.unary_unary(
        DELIVER_PATH,
        request_serializer=alerts_pb2.Alert.SerializeToString,
        response_deserializer=alerts_pb2.DeliverReply.FromString,
    )
    metadata = (("authorization", f"Bearer {message.secrets[0]}"),) if message.secrets else ()
    return deliver.future(alert_message(json.loads(message.body)), timeout=DEADLINE_S, metadata=metadata)


def _outcome(call: _Call, started: float, place: Place) -> Result:
    try:
        reply = call.result()
    except grpc.RpcError:
        return _judge(call, time.monotonic() - started, place)
    return Answer(None, _excerpt(reply.note), time.monotonic() - started)


def _judge(call: _Call, took_s: float, place: Place) -> Result:
    code, said = call.code(), _excerpt(call.details() or "")
    if code is grpc.StatusCode.ALREADY_EXISTS:  # it has had it, and its answer got lost
        return Answer(None, said, took_s)
    if code is grpc.StatusCode.UNAVAILABLE:
        CHANNELS.forget(place)
    return TransportError(
        f"The subscriber answered {code.name}: {said}"[:500],
        permanent=code in _PERMANENT,
        retry_after_s=_pushback_s(call),
        excerpt=said,
        duration_s=took_s,
    )


def _excerpt(text: str) -> str:
    """Return the first kilobyte, without what PostgreSQL does not store."""
    return text.encode()[:EXCERPT_BYTES].decode(errors="ignore").replace("\x00", "\ufffd")


def _pushback_s(call: _Call) -> float | None:
    """Return in how many seconds to come back, if the receiver said so (``grpc-retry-pushback-ms``)."""
    said = dict(call.trailing_metadata() or ()).get("grpc-retry-pushback-ms", "")
    return int(said) / 1000 if isinstance(said, str) and said.isascii() and said.isdigit() else None
