"""What another Unix user finds of a platform: `another_user UID` reads paths and secrets from its input (JSON)."""

from __future__ import annotations

import base64
import json
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

_MOST_BYTES = 64 << 20


def main() -> None:
    """Become the user, try every path, and print what could be read, written or connected to."""
    asked = json.loads(sys.stdin.read())
    os.setgroups([])
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
    forms = {name: [base64.b64decode(one) for one in some] for name, some in asked["secrets"].items()}
    found: dict[str, Any] = {"secrets": {}, "writable": [], "connected": [], "tried": 0, "read": 0}
    for path in map(Path, asked["paths"]):
        found["tried"] += 1
        try:
            mode = path.stat().st_mode
        except OSError:
            mode = 0
        if stat.S_ISSOCK(mode) or not mode:
            _connect(path, found)
        if os.access(path, os.W_OK) and not stat.S_ISCHR(mode):
            found["writable"].append(str(path))
        if not mode or stat.S_ISREG(mode):
            _read(path, forms, found)
    print(json.dumps(found))


def _connect(path: Path, found: dict[str, Any]) -> None:
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(path))
            found["connected"].append(str(path))
    except OSError:
        pass


def _read(path: Path, forms: dict[str, list[bytes]], found: dict[str, Any]) -> None:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES)
    except OSError:
        return
    found["read"] += 1
    told = [name for name, some in forms.items() if any(one in content for one in some)]
    if told:
        found["secrets"][str(path)] = told


if __name__ == "__main__":
    main()
