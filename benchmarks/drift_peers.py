"""The peers of the drift benchmark, Evidently and NannyML, in an interpreter of their own, where there is one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

WORKER = Path(__file__).parent / "peers" / "drift_worker.py"


class PeerError(Exception):
    """A peer could not be asked, or answered with an error."""


class Peers:
    """A process that answers for the peers; close it in the end.

    Args:
        python: the interpreter that has evidently and nannyml; by default this one.

    Attributes:
        versions: of both, in words.
        data: the folder of NannyML's data sets.
    """

    def __init__(self, python: str | None = None) -> None:
        self._process = subprocess.Popen(
            [python or sys.executable, "-W", "ignore", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        about = self.ask("where")
        self.versions = f"Evidently {about['evidently']}, NannyML {about['nannyml']}"
        self.data = Path(about["data"])

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        """One question, one answer."""
        if self._process.stdin is None or self._process.stdout is None:
            raise PeerError("the peers' process has no pipes")
        try:
            self._process.stdin.write(json.dumps({"do": action, **arguments}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except OSError as error:
            raise PeerError(str(error)) from error
        answer = json.loads(line) if line else {"error": "the peers' process ended"}
        if "error" in answer:
            raise PeerError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=30)


def open_peers(python: str | None) -> Peers | None:
    """The peers; None, with a line that says so, when they are not installed."""
    try:
        return Peers(python)
    except (PeerError, OSError) as error:
        print(f"peers not installed: skipped ({error}); give --peer-python an interpreter with evidently and nannyml")
        return None
