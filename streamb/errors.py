"""The exception tree: every error that streamb raises has an HTTP `status` and a stable `code`.

A message says what is wrong and what to do about it. Facts for programs (the names of the wrong features, the
seconds to wait) are in `details`, so that no program parses the message. The classes are plain Python, picklable (they
are sent between Ray processes), and independent of any web framework.
"""

from __future__ import annotations

from typing import Any, ClassVar


class StreambError(Exception):
    """The base class of all errors that streamb raises on purpose.

    Attributes:
        status: the HTTP status that a server answers with.
        code: a stable, machine-readable name that never changes.
        details: facts about this occurrence, as JSON values.
        foreign: whether the message has words of code that is not streamb's, such as a model's own exception: they may
            hold values of rows, so they belong into a log, not into an answer.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    foreign: bool = False

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.details))


def _rebuild(cls: type[StreambError], message: str, details: dict[str, Any]) -> StreambError:
    return cls(message, **details)


def words_of(error: BaseException, longest: int = 500) -> str:
    """Return an exception as text: its type and what it says. Foreign exceptions may fail even to print themselves.

    Args:
        error: any exception.
        longest: the most characters of the text.

    >>> words_of(KeyError("x")), words_of(KeyboardInterrupt())
    ("KeyError: 'x'", 'KeyboardInterrupt')
    """
    name = type(error).__name__
    try:
        said = str(error)
    except BaseException:
        said = "its message cannot be printed"
    return (f"{name}: {said}" if said else name)[:longest].encode(errors="replace").decode()


def error_classes() -> dict[str, type[StreambError]]:
    """Return every error class by its code, to turn the answer of a remote platform back into an exception.

    A class that inherits its code is represented by the class that declares the code.
    """
    found: dict[str, type[StreambError]] = {}
    waiting: list[type[StreambError]] = [StreambError]
    while waiting:
        cls = waiting.pop()
        found.setdefault(cls.code, cls)  # base classes are visited before their subclasses
        waiting.extend(cls.__subclasses__())
    return found


# --- what a client sent -------------------------------------------------------------------------------------------


class BadRequest(StreambError):
    """The request is malformed: not JSON, a missing field, or a wrong shape."""

    status, code = 400, "bad_request"


class Unauthorized(StreambError):
    """The request has no valid API key."""

    status, code = 401, "unauthorized"


class Forbidden(StreambError):
    """The API key is valid but does not permit this request."""

    status, code = 403, "forbidden"


class SelfApproval(Forbidden):
    """The author of a deployment may not approve it, under whatever key or name."""

    code = "self_approval"


class NotFound(StreambError):
    """The named object does not exist."""

    status, code = 404, "not_found"


class MethodNotAllowed(StreambError):
    """The path exists but does not support this HTTP method."""

    status, code = 405, "method_not_allowed"


class RequestTimeout(StreambError):
    """The request body did not arrive in time."""

    status, code = 408, "request_timeout"


class Conflict(StreambError):
    """The request conflicts with the current state."""

    status, code = 409, "conflict"


class InvalidTransition(Conflict):
    """The object is in a state that does not allow this change."""

    code = "invalid_transition"


class StaleRevision(Conflict):
    """The record was changed by somebody else after it was read."""

    code = "stale_revision"


class IncompatibleSignature(Conflict):
    """A version takes or answers something else than the one that serves; `details["changes"]` lists the differences.

    Each has a `name`, by which it can be accepted, and a `detail`.
    """

    code = "incompatible_signature"


class BodyTooLarge(StreambError):
    """The request body is larger than the limit."""

    status, code = 413, "body_too_large"


class UnsupportedMediaType(StreambError):
    """This route does not accept the content type."""

    status, code = 415, "unsupported_media_type"


class InvalidInput(StreambError):
    """The request is well formed, but a value is not allowed."""

    status, code = 422, "invalid_input"


class UnknownOutput(InvalidInput):
    """A tensor request names an output that the version does not have; another version may have it."""

    status, code = 400, "unknown_output"


class InvalidFeatures(InvalidInput):
    """The rows do not match the model's feature schema; `details["problems"]` lists each problem."""

    code = "invalid_features"


class RateLimited(StreambError):
    """The caller sends more requests than its limit; `details["retry_after_s"]` is the time to wait."""

    status, code = 429, "rate_limited"


# --- what the platform could not do -------------------------------------------------------------------------------


class ModelFailed(StreambError):
    """The model version raised an error or did not return a prediction."""

    status, code = 500, "model_error"


class Unavailable(StreambError):
    """No healthy version can answer now; `details["retry_after_s"]` says when to try again."""

    status, code = 503, "unavailable"


class BreakerOpen(Unavailable):
    """An open circuit breaker rejected the call, so this is no new evidence about the version."""


class Overloaded(Unavailable):
    """A bounded queue is full; `details["retry_after_s"]` says when to try again."""

    code = "overloaded"


class DeadlineExceeded(StreambError):
    """The operation did not finish within its time limit."""

    status, code = 504, "timeout"


class OwnDeadlineExceeded(DeadlineExceeded):
    """The time limit that the request itself set is over, and it was shorter than what the answer may usually take."""


# --- artifacts ----------------------------------------------------------------------------------------------------


class ArtifactError(StreambError):
    """The model artifact cannot be used."""

    status, code = 422, "artifact_invalid"


class ArtifactCorrupt(ArtifactError):
    """Bytes of the artifact are missing or do not match the digest in its manifest."""

    code = "artifact_corrupt"


class ArtifactUntrusted(ArtifactError):
    """The artifact contains code and is not signed with this platform's key."""

    status, code = 403, "artifact_untrusted"


class ArtifactUnsupported(ArtifactError):
    """The artifact has a format version, model class or type that this build cannot load."""

    code = "artifact_unsupported"


class EnvironmentMismatch(ArtifactUnsupported):
    """A distribution that the model needs is missing here or has another major version.

    `details["install"]` lists the requirements to install.
    """

    code = "environment_mismatch"


class EnvironmentFailed(ArtifactError):
    """What the version requires for its own environment cannot be installed; the message ends with the installer's."""

    code = "environment_failed"


class TrialFailed(ArtifactError):
    """The version was refused by its trial: it cannot be loaded, or does not answer as it did where it was made."""

    code = "trial_failed"


class StorageFailed(StreambError):
    """The database or the artifact store failed: disk full, locked, or unreachable."""

    status, code = 503, "storage_failed"


class DatabaseTooNew(StorageFailed):
    """A newer release of streamb has migrated this database; this release cannot read it."""

    code = "database_too_new"


# --- running the platform -----------------------------------------------------------------------------------------


class ConfigError(StreambError):
    """A setting has an invalid value; the message names the variable, the value, and what is allowed."""

    status, code = 422, "config_error"


class AlreadyRunning(Conflict):
    """Another platform already uses this state directory."""

    code = "already_running"


class InsideModel(Conflict):
    """The code of a model tried to start a platform, or to use the one on a state directory."""

    code = "inside_model"


class NotRunning(StreambError):
    """No platform answers at the expected address."""

    status, code = 503, "not_running"


class StartFailed(StreambError):
    """A part of the platform did not start in time."""

    status, code = 503, "start_failed"


class DoesNotFit(Conflict):
    """The machine or the cluster has not enough memory or CPUs for what would run; `details` has the numbers."""

    code = "does_not_fit"


class IsolationUnavailable(Conflict):
    """The machine cannot run own code behind a boundary, which was asked for; the message says what is missing."""

    code = "isolation_unavailable"


class RayUnprotected(StartFailed):
    """The Ray cluster has no token authentication, or it cannot be told whether it has."""

    code = "ray_unprotected"
