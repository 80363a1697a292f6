"""Starts the search job `tune_jobs.optimize`: as a child process, or as a job on the platform's cluster."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streamb.cli.options import Where
from streamb.cli.output import Answer
from streamb.config import child_environment

_PROGRAM: Final = ("-m", "tune_jobs.optimize")
_STDERR: Final = 2


@dataclass(frozen=True, slots=True)
class SearchJob:
    """A search job and its options.

    Attributes:
        options: the options that were given, by their field in `SearchOptions`.
        where: the platform to register models on, or to run on.
    """

    options: Mapping[str, Any]
    where: Where

    def arguments(self) -> list[str]:
        """The job's command line, without the interpreter."""
        told = [*_PROGRAM]
        for name, value in self.options.items():
            option = f"--{name.replace('_', '-')}"
            if value is True:
                told.append(option)
                continue
            for one in value if isinstance(value, list) else [value]:
                told += [option, str(one.absolute() if isinstance(one, Path) else one)]
        return told


def run_here(job: SearchJob, *, quiet: bool) -> int:
    """Run the job as a child process; returns its exit code. Ctrl-C reaches the child too, and it ends cleanly.

    Args:
        job: what to run.
        quiet: send its progress to stderr, which leaves stdout to the JSON answer.
    """
    command = [sys.executable, *job.arguments()]
    if job.where.state_dir is not None:
        command += ["--state-dir", str(job.where.state_dir.absolute())]
    if job.where.address is not None:
        command += ["--url", job.where.address]
    # never pass the key as an argument: every process on the machine could read it
    environment = child_environment(**({"ML_API_KEY": job.where.api_key} if job.where.api_key else {}))
    with subprocess.Popen(command, env=environment, stdout=_STDERR if quiet else None) as child:
        while child.poll() is None:
            with contextlib.suppress(KeyboardInterrupt):  # the child got the same signal and reports it
                child.wait()
    return child.returncode if child.returncode in {0, 1, 2} else 1


def submit(job: SearchJob) -> Answer:
    """Submit the job to the platform; the data must exist there under the same path."""
    body: dict[str, Any] = {
        "entrypoint": shlex.join(["python", *job.arguments()]),
        "name": f"tune {job.options.get('model') or job.options.get('resume')}",
        "working_dir": None,
        "env": {},
    }
    with job.where.connect() as client:
        made = client.change("POST", "/api/jobs", body)
    return Answer(made, made["id"])
