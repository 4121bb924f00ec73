"""The one error of this package."""


class EmbeddedError(Exception):
    """A service cannot be started here; the message says why and what to do instead."""
