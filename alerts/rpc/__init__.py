"""Alerts over gRPC: messages and the server of ``AlertStream``. ``alerts_pb2`` is generated from proto/alerts.proto."""
