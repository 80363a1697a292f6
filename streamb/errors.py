"""The exception tree: every error streamb raises carries an HTTP `status` and a stable `code`.

A message says what is wrong and what to do about it. Details that a program may want (the names of the wrong
features, the seconds to wait) travel in `details`, so nobody has to parse prose. The classes are plain Python,
picklable (they cross Ray processes), and know nothing of any web framework.
"""

from __future__ import annotations

from typing import Any, ClassVar


class StreambError(Exception):
    """Base of every error that streamb raises on purpose.

    Attributes:
        status: the HTTP status a server answers with.
        code: a stable, machine-readable name; never reworded.
        details: JSON-ready facts about this occurrence.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.details))


def _rebuild(cls: type[StreambError], message: str, details: dict[str, Any]) -> StreambError:
    return cls(message, **details)


def error_classes() -> dict[str, type[StreambError]]:
    """Every error class by its code, to turn an answer from a remote platform back into an exception.

    A class without a code of its own comes back as the one that it has its code from.
    """
    found: dict[str, type[StreambError]] = {}
    waiting: list[type[StreambError]] = [StreambError]
    while waiting:
        cls = waiting.pop()
        found.setdefault(cls.code, cls)  # a class comes before those that are made from it
        waiting.extend(cls.__subclasses__())
    return found


# --- what a client sent -------------------------------------------------------------------------------------------


class BadRequest(StreambError):
    """The request is not well formed (not JSON, a missing field, a wrong shape)."""

    status, code = 400, "bad_request"


class Unauthorized(StreambError):
    """No valid API key."""

    status, code = 401, "unauthorized"


class Forbidden(StreambError):
    """A valid caller that may not do this."""

    status, code = 403, "forbidden"


class NotFound(StreambError):
    """The thing named does not exist."""

    status, code = 404, "not_found"


class MethodNotAllowed(StreambError):
    """The path exists, the method does not."""

    status, code = 405, "method_not_allowed"


class RequestTimeout(StreambError):
    """The body did not arrive in time."""

    status, code = 408, "request_timeout"


class Conflict(StreambError):
    """The request contradicts what is already there."""

    status, code = 409, "conflict"


class InvalidTransition(Conflict):
    """A state machine does not allow this step from where it is."""

    code = "invalid_transition"


class StaleRevision(Conflict):
    """A compare-and-swap met a newer revision than the one it read."""

    code = "stale_revision"


class BodyTooLarge(StreambError):
    """The body passes the limit."""

    status, code = 413, "body_too_large"


class UnsupportedMediaType(StreambError):
    """The content type is not one this route reads."""

    status, code = 415, "unsupported_media_type"


class InvalidInput(StreambError):
    """Well formed, but a value is not allowed."""

    status, code = 422, "invalid_input"


class InvalidFeatures(InvalidInput):
    """Rows that do not fit the model's feature schema; `details["problems"]` names each."""

    code = "invalid_features"


class RateLimited(StreambError):
    """The caller's request rate passes its limit; `details["retry_after_s"]` says how long to wait."""

    status, code = 429, "rate_limited"


# --- what the platform could not do -------------------------------------------------------------------------------


class ModelFailed(StreambError):
    """The model version raised, or answered something that is not a prediction."""

    status, code = 500, "model_error"


class Unavailable(StreambError):
    """No healthy version can answer now; `details["retry_after_s"]` says when to try again."""

    status, code = 503, "unavailable"


class BreakerOpen(Unavailable):
    """A version that kept failing is not called for a while: says nothing new about the version."""


class Overloaded(Unavailable):
    """A bounded queue is full; `details["retry_after_s"]` says when to try again."""

    code = "overloaded"


class DeadlineExceeded(StreambError):
    """The answer did not come within the time limit."""

    status, code = 504, "timeout"


# --- artifacts ----------------------------------------------------------------------------------------------------


class ArtifactError(StreambError):
    """A model artifact cannot be used."""

    status, code = 422, "artifact_invalid"


class ArtifactCorrupt(ArtifactError):
    """Bytes are missing or do not match the digest in the manifest."""

    code = "artifact_corrupt"


class ArtifactUntrusted(ArtifactError):
    """The artifact carries code and is not signed by this platform's key."""

    status, code = 403, "artifact_untrusted"


class ArtifactUnsupported(ArtifactError):
    """A format version, model class or type that this build cannot load."""

    code = "artifact_unsupported"


class StorageFailed(StreambError):
    """The database or the artifact store refused a write or a read (disk full, locked, unreachable)."""

    status, code = 503, "storage_failed"


class DatabaseTooNew(StorageFailed):
    """A newer streamb has migrated this database; this one would misread it."""

    code = "database_too_new"


# --- running the platform -----------------------------------------------------------------------------------------


class ConfigError(StreambError):
    """A setting has a value that is not allowed; names the variable, the value and what is allowed."""

    status, code = 422, "config_error"


class AlreadyRunning(Conflict):
    """A platform already runs on this state directory."""

    code = "already_running"


class NotRunning(StreambError):
    """No platform answers where one was expected."""

    status, code = 503, "not_running"


class StartFailed(StreambError):
    """A part of the platform did not come up in time."""

    status, code = 503, "start_failed"
