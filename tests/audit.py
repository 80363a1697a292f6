"""`make audit`: bandit over the code, and pip-audit over every pinned package.

pip-audit ends well if it could look up nothing: each package is then "skipped". So its report is judged here. The exit
status is 0 if all was looked at and nothing found, 1 for findings, 2 if something was not looked at, and 3 if no data
about packages could be reached at all: then nothing is known, neither good nor bad.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CODE = ("streamb", "serve_apps", "tune_jobs")
PINS = ROOT / "constraints.txt"
CLEAN, FOUND, INCOMPLETE, NO_DATA = range(4)
NO_FINDINGS = {
    "B403": "an import of pickle is no finding, its use is (B301)",
    "B404": "an import of subprocess is no finding, its use is",
    "B603": "no shell is involved, and each command is a list that we made",
    "B107": "an empty default is no password",
}
"""Checks of bandit that are left out, and why."""
_WAIT_S = 600.0


def main(arguments: Sequence[str]) -> int:
    """Run the audits that are named (`code`, `packages`; by default both); return the worst exit status."""
    audits: dict[str, Callable[[], int]] = {"code": audit_code, "packages": audit_packages}
    found = [audits[name]() for name in arguments or audits]
    return next((status for status in (FOUND, INCOMPLETE, NO_DATA) if status in found), CLEAN)


# --- code -------------------------------------------------------------------------------------------------------------


def audit_code(paths: Sequence[Path] = tuple(ROOT / name for name in CODE)) -> int:
    """Run bandit; what ruff was told to let pass, by the same number and with a reason, passes here as well."""
    command = ["-m", "bandit", "-q", "-r", *map(str, paths), "-f", "json", "-s", ",".join(NO_FINDINGS)]
    report = _report(command)
    if report is None or report["errors"]:
        print(f"bandit did not look at everything: {report and report['errors']}", file=sys.stderr)
        return INCOMPLETE
    left = [one for one in report["results"] if not _waived(one)]
    for one in left:
        print(f"{one['filename']}:{one['line_number']}: {one['test_id']} {one['issue_text']}")
    print(f"bandit: {len(left)} findings ({len(report['results']) - len(left)} were looked at before)")
    return FOUND if left else CLEAN


def _waived(finding: Mapping[str, Any]) -> bool:
    lines = Path(finding["filename"]).read_text().splitlines()
    number = finding["test_id"].replace("B", "S")
    return any(re.search(rf"# noqa: [^#]*\b{number}\b", lines[at - 1]) for at in finding["line_range"])


# --- packages ---------------------------------------------------------------------------------------------------------


def audit_packages() -> int:
    """Run pip-audit over the pins, and judge its report."""
    command = ["-m", "pip_audit", "-r", str(PINS), "--no-deps", "--disable-pip", "-f", "json", "--progress-spinner=off"]
    status, told = judged(_report(command), pinned(PINS.read_text()))
    print(told, file=sys.stdout if status == CLEAN else sys.stderr)
    return status


def pinned(pins: str) -> set[str]:
    """The names of the pinned packages."""
    return {_named(line.split("==")[0]) for line in pins.splitlines() if "==" in line and not line.startswith("#")}


def judged(report: Mapping[str, Any] | None, wanted: set[str]) -> tuple[int, str]:
    """The exit status and a sentence about pip-audit's report.

    Args:
        report: the report; None if there is none, because no service answered.
        wanted: the packages that it must be about.
    """
    known = [] if report is None else report["dependencies"]
    looked_at = {_named(one["name"]) for one in known if "skip_reason" not in one}
    if not looked_at:
        return (
            NO_DATA,
            "NOT AUDITED: no data about vulnerabilities could be reached, so nothing is known of any package",
        )
    bad = [f"{one['name']} {one['version']}: {each['id']}" for one in known for each in one.get("vulns", ())]
    if bad:
        return FOUND, "packages with known vulnerabilities:\n" + "\n".join(bad)
    if missing := sorted(wanted - looked_at):
        return INCOMPLETE, f"{len(missing)} of {len(wanted)} packages were not looked at: {', '.join(missing)}"
    return CLEAN, f"pip-audit: no known vulnerability in {len(looked_at)} packages"


def _named(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package.split("[")[0].strip()).lower()


def _report(command: Sequence[str]) -> dict[str, Any] | None:
    """The report that a tool prints; None if it printed none."""
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=_WAIT_S, check=False
    )
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        print(done.stderr[-2000:], file=sys.stderr)
        return None
    return report


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
