"""Following an organisation's alerts: read once for all clients of a process, be they gRPC streams or sockets."""
