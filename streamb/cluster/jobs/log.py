"""The output of a job, read in pieces while it grows."""

from __future__ import annotations

from pathlib import Path


def read_log(log_file: Path, offset: int, limit: int, *, ended: bool) -> tuple[str, int]:
    """Up to `limit` bytes as text, from byte `offset` on, and the offset to go on from; nothing where there is no file.

    A character that is not complete yet is left for the next call, unless the job has ended.
    """
    try:
        with log_file.open("rb") as file:
            file.seek(offset)
            content = file.read(max(limit, 4))  # one character at least
            at_end = not file.read(1)
    except FileNotFoundError:
        return "", offset
    complete = len(content) if ended and at_end else _complete_characters(content)
    return content[:complete].decode(errors="replace"), offset + complete


def _complete_characters(content: bytes) -> int:
    """How many bytes of `content` are whole UTF-8 characters (or no UTF-8 at all)."""
    for back in range(1, min(3, len(content)) + 1):
        byte = content[-back]
        if byte >= 0xC0:  # the first byte of a character of 2, 3 or 4
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(content) - back if back < size else len(content)
        if byte < 0x80:
            break
    return len(content)
