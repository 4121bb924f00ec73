import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubscribeRequest(_message.Message):
    __slots__ = ("after_event_id", "from_beginning", "session_id", "exam_ids", "event_types")
    AFTER_EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_BEGINNING_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    EXAM_IDS_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    after_event_id: str
    from_beginning: bool
    session_id: str
    exam_ids: _containers.RepeatedScalarFieldContainer[str]
    event_types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, after_event_id: _Optional[str] = ..., from_beginning: _Optional[bool] = ..., session_id: _Optional[str] = ..., exam_ids: _Optional[_Iterable[str]] = ..., event_types: _Optional[_Iterable[str]] = ...) -> None: ...

class Alert(_message.Message):
    __slots__ = ("event_id", "exam_session_id", "candidate_id", "timestamp", "event_type", "severity_score", "ai_model_source", "evidence", "metadata")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    EXAM_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_ID_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_SCORE_FIELD_NUMBER: _ClassVar[int]
    AI_MODEL_SOURCE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    exam_session_id: str
    candidate_id: str
    timestamp: _timestamp_pb2.Timestamp
    event_type: str
    severity_score: float
    ai_model_source: str
    evidence: Evidence
    metadata: Metadata
    def __init__(self, event_id: _Optional[str] = ..., exam_session_id: _Optional[str] = ..., candidate_id: _Optional[str] = ..., timestamp: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., event_type: _Optional[str] = ..., severity_score: _Optional[float] = ..., ai_model_source: _Optional[str] = ..., evidence: _Optional[_Union[Evidence, _Mapping]] = ..., metadata: _Optional[_Union[Metadata, _Mapping]] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("frame_ids", "confidence_metrics")
    class ConfidenceMetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    FRAME_IDS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_METRICS_FIELD_NUMBER: _ClassVar[int]
    frame_ids: _containers.RepeatedScalarFieldContainer[str]
    confidence_metrics: _containers.ScalarMap[str, float]
    def __init__(self, frame_ids: _Optional[_Iterable[str]] = ..., confidence_metrics: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Metadata(_message.Message):
    __slots__ = ("phase", "incident_id", "sequence", "schema_version", "exam_id", "organisation", "technical", "decided_at", "ended_at", "duration_s", "pictures", "more")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    INCIDENT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    EXAM_ID_FIELD_NUMBER: _ClassVar[int]
    ORGANISATION_FIELD_NUMBER: _ClassVar[int]
    TECHNICAL_FIELD_NUMBER: _ClassVar[int]
    DECIDED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    DURATION_S_FIELD_NUMBER: _ClassVar[int]
    PICTURES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    phase: str
    incident_id: str
    sequence: int
    schema_version: str
    exam_id: str
    organisation: str
    technical: bool
    decided_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    duration_s: float
    pictures: _containers.RepeatedCompositeFieldContainer[Picture]
    more: _struct_pb2.Struct
    def __init__(self, phase: _Optional[str] = ..., incident_id: _Optional[str] = ..., sequence: _Optional[int] = ..., schema_version: _Optional[str] = ..., exam_id: _Optional[str] = ..., organisation: _Optional[str] = ..., technical: _Optional[bool] = ..., decided_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., duration_s: _Optional[float] = ..., pictures: _Optional[_Iterable[_Union[Picture, _Mapping]]] = ..., more: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Picture(_message.Message):
    __slots__ = ("evidence_id", "frame_id", "captured_at", "sha256", "url")
    EVIDENCE_ID_FIELD_NUMBER: _ClassVar[int]
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURED_AT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    evidence_id: str
    frame_id: str
    captured_at: _timestamp_pb2.Timestamp
    sha256: str
    url: str
    def __init__(self, evidence_id: _Optional[str] = ..., frame_id: _Optional[str] = ..., captured_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sha256: _Optional[str] = ..., url: _Optional[str] = ...) -> None: ...

class DeliverReply(_message.Message):
    __slots__ = ("note",)
    NOTE_FIELD_NUMBER: _ClassVar[int]
    note: str
    def __init__(self, note: _Optional[str] = ...) -> None: ...
