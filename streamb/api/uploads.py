"""Receives `multipart/form-data` with a file of any size and writes the file to disk piece by piece.

The framework's own form reader would copy a file twice, and it limits only the parts that are not files. The parts are
read in any order: the file (`artifact`, or the route's name for it), `metadata` (JSON) and, where the route takes one,
`example` (JSON); others are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from streamb.errors import BadRequest, BodyTooLarge, InvalidInput, StorageFailed, UnsupportedMediaType
from streamb.models.example import MAX_BYTES

_LONGEST_JSON: Final = {"metadata": 512 * 1024, "example": MAX_BYTES}
_LONGEST_HEADER: Final = 8 * 1024
_WRITE_BYTES: Final = 1 << 20


def form_schema(
    part: str, description: str, media_type: str, metadata: str, *, example: str | None = None
) -> dict[str, Any]:
    """Return the OpenAPI schema of a form with a file and its metadata.

    Args:
        part: the name of the part that holds the file.
        description: a sentence about the file.
        media_type: the media type of the file.
        metadata: the name of the schema of the part `metadata`.
        example: a sentence about the optional part `example`; None if the form has no such part.
    """
    file = {"type": "string", "format": "binary", "description": description}
    properties = {part: file, "metadata": {"$ref": f"#/components/schemas/{metadata}"}}
    encoding = {part: {"contentType": media_type}, "metadata": {"contentType": "application/json"}}
    if example is not None:
        properties["example"] = {"type": "object", "description": example}
        encoding["example"] = {"contentType": "application/json"}
    schema = {"type": "object", "required": [part, "metadata"], "properties": properties}
    return {"multipart/form-data": {"schema": schema, "encoding": encoding}}


@dataclass(frozen=True, slots=True)
class Upload:
    """A received upload.

    Attributes:
        path: the file on disk; removed when the `receive_upload` block ends.
        sha256: the file's SHA-256, 64 hexadecimal digits; of the part `example` as well, if there is one.
        metadata: the part `metadata`, as parsed JSON.
        example: the part `example`, as parsed JSON; None if it was not sent.
    """

    path: Path
    sha256: str
    metadata: Any
    example: Any = None


@contextlib.asynccontextmanager
async def receive_upload(
    request: Request,
    scratch: Path,
    *,
    max_bytes: int,
    part: str = "artifact",
    limit_name: str = "ML_MAX_ARTIFACT_BYTES",
    takes_example: bool = False,
) -> AsyncIterator[Upload]:
    """Write an upload into a new folder under `scratch`, which is removed when the block ends.

    Args:
        request: the request whose body is read.
        scratch: the folder for uploads; created if necessary.
        max_bytes: the size limit of the file.
        part: the name of the part that holds the file.
        limit_name: the name of the setting behind `max_bytes`, for the message.
        takes_example: whether the form may have a part `example`.

    Raises:
        UnsupportedMediaType: the body is not `multipart/form-data`.
        BadRequest: the form, or the JSON in it, is not well formed.
        InvalidInput: a part is missing, repeated or unknown.
        BodyTooLarge: the file is longer than `max_bytes`, or another part is too long.
        StorageFailed: the file cannot be written to disk.
    """
    boundary = _boundary(request, part)
    also = ("metadata", "example") if takes_example else ("metadata",)
    try:
        folder = Path(await asyncio.to_thread(_new_folder, scratch))
    except OSError as error:
        raise StorageFailed(
            f"the scratch folder cannot be written ({error.strerror}); the upload was dropped"
        ) from error
    try:
        yield await _receive(
            request, folder / part, lambda file: _Form(boundary, file, part, max_bytes, limit_name, also=also)
        )
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _receive(request: Request, path: Path, form_on: Callable[[BinaryIO], _Form]) -> Upload:
    try:
        with await asyncio.to_thread(path.open, "wb") as file:
            form = form_on(file)
            async for piece in request.stream():
                form.feed(piece)
                if len(form.unwritten) >= _WRITE_BYTES:
                    await asyncio.to_thread(form.write_out)
            await asyncio.to_thread(form.write_out)
    except OSError as error:
        raise StorageFailed(f"the disk refused the file ({error.strerror}); the upload was dropped") from error
    metadata, example = form.document("metadata"), form.document("example")
    return Upload(path=path, sha256=form.digest(), metadata=metadata, example=example)


def _new_folder(scratch: Path) -> str:
    scratch.mkdir(parents=True, exist_ok=True)
    return tempfile.mkdtemp(prefix="upload-", dir=scratch)


def _boundary(request: Request, part: str) -> bytes:
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    if content_type != b"multipart/form-data":
        raise UnsupportedMediaType(f"send multipart/form-data with the parts `{part}` (a file) and `metadata` (JSON)")
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise BadRequest("the Content-Type names no boundary between the parts")
    return boundary


class _Form:
    """Collects the parts of the form as a streaming parser finds them."""

    def __init__(
        self, boundary: bytes, file: BinaryIO, part: str, max_bytes: int, limit_name: str, *, also: Sequence[str]
    ) -> None:
        self._file = file
        self._file_part = part
        self._max_bytes = max_bytes
        self._limit_name = limit_name
        self._seen: set[str] = set()
        self._part = ""
        self._header_name = self._header_value = b""
        self._documents = {name: bytearray() for name in also}
        self._file_bytes = 0
        self._complete = False
        self.unwritten = bytearray()
        self._sha256 = hashlib.sha256()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_text,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise BadRequest(f"the Content-Type of the form is not usable: {error}") from error

    def feed(self, piece: bytes) -> None:
        """Parse the next bytes of the body."""
        if not piece:
            return
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise BadRequest(f"the multipart form is not well formed: {error}") from error

    def write_out(self) -> None:
        """Write the part of the file that has arrived to disk. Blocks."""
        self._sha256.update(self.unwritten)
        self._file.write(self.unwritten)
        self.unwritten.clear()

    def digest(self) -> str:
        """Return a SHA-256 of the file, and of the example if there is one, after the whole form has arrived."""
        if "example" in self._seen:
            self._sha256.update(self._documents["example"])
        return self._sha256.hexdigest()

    def document(self, name: str) -> Any:
        """Return the parsed JSON of a part, after the whole form has arrived; None for a part that was not sent."""
        if not self._complete:
            raise BadRequest("the multipart form ends before its last boundary; send it again")
        missing = {self._file_part, "metadata"} - self._seen
        if missing:
            raise InvalidInput(f"the form lacks the part {' and '.join(sorted(missing))}")
        if name not in self._seen:
            return None
        try:
            return json.loads(self._documents[name], parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"the part `{name}` is not JSON ({error})") from error

    def _begin(self) -> None:
        self._part = ""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _header_text(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        if len(self._header_value) > _LONGEST_HEADER:
            raise BadRequest("a part of the form has a header that is too long")

    def _header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(self._header_value)
            self._part = options.get(b"name", b"").decode("utf-8", "replace")
        self._header_name = self._header_value = b""

    def _headers_finished(self) -> None:
        if self._part not in {self._file_part, *self._documents}:
            known = " and ".join(f"`{name}`" for name in (self._file_part, *self._documents))
            raise InvalidInput(f"the form has a part {self._part!r}; it takes {known}")
        if self._part in self._seen:
            raise InvalidInput(f"the form has the part `{self._part}` twice")
        self._seen.add(self._part)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part in self._documents:
            document, limit = self._documents[self._part], _LONGEST_JSON[self._part]
            document += data[start:end]
            if len(document) > limit:
                raise BodyTooLarge(f"the part `{self._part}` is longer than {limit} bytes")
            return
        self._file_bytes += end - start
        if self._file_bytes > self._max_bytes:
            raise BodyTooLarge(
                f"the part `{self._file_part}` is longer than {self._max_bytes} bytes, the limit ({self._limit_name})",
                limit_bytes=self._max_bytes,
            )
        self.unwritten += data[start:end]

    def _end(self) -> None:
        self._complete = True


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")
