"""`make audit`: a report about nothing is no good report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import audit
from tests.audit import CLEAN, FOUND, INCOMPLETE, NO_DATA, judged, pinned

WANTED = {"alpha", "beta-gamma"}


def report(**found: object) -> dict[str, object]:
    names = {"alpha": "alpha", "beta": "Beta_Gamma"}
    known = {name: one if isinstance(one, dict) else {"version": "1.0", "vulns": one} for name, one in found.items()}
    return {"dependencies": [{"name": names[name], **one} for name, one in known.items()]}


SKIPPED = {"skip_reason": "Dependency not found on PyPI and could not be audited"}
BAD = [{"id": "CVE-2026-1", "fix_versions": ["2.0"]}]


@pytest.mark.parametrize(
    ("told", "status", "words"),
    [
        (report(alpha=[], beta=[]), CLEAN, "no known vulnerability in 2 packages"),
        (report(alpha=[], beta=BAD), FOUND, "Beta_Gamma 1.0: CVE-2026-1"),
        (report(alpha=SKIPPED, beta=BAD), FOUND, "CVE-2026-1"),
        (report(alpha=[], beta=SKIPPED), INCOMPLETE, "1 of 2 packages were not looked at: beta-gamma"),
        (report(alpha=[]), INCOMPLETE, "beta-gamma"),
        (report(alpha=SKIPPED, beta=SKIPPED), NO_DATA, "NOT AUDITED"),
        ({"dependencies": []}, NO_DATA, "NOT AUDITED"),
        (None, NO_DATA, "NOT AUDITED"),
    ],
)
def test_a_report_is_good_only_if_it_is_about_every_package(told, status, words):
    found, sentence = judged(told, WANTED)
    assert found == status
    assert words in sentence


def test_the_pins_are_read():
    found = pinned(audit.PINS.read_text())
    assert {"ray", "pip-audit", "types-psutil"} <= found
    assert len(found) > 150


def test_the_worst_is_told(monkeypatch):
    for code, packages, worst in (
        (CLEAN, NO_DATA, NO_DATA),
        (FOUND, NO_DATA, FOUND),
        (INCOMPLETE, NO_DATA, INCOMPLETE),
    ):
        monkeypatch.setattr(audit, "audit_code", lambda code=code: code)
        monkeypatch.setattr(audit, "audit_packages", lambda packages=packages: packages)
        assert audit.main([]) == worst
    assert audit.main(["packages"]) == NO_DATA


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("x = 1", CLEAN),
        ("import pickle; pickle.loads(b'')", FOUND),
        ("import pickle; pickle.loads(b'')  # noqa: S301 - ours", CLEAN),
        ("import pickle; pickle.loads(b'')  # noqa: S311 - another number", FOUND),
        ("x = (", INCOMPLETE),
    ],
)
def test_code_is_looked_at_and_a_finding_is_waived_by_its_number(tmp_path: Path, line, status, capsys):
    (tmp_path / "code.py").write_text(f"{line}\n")
    assert audit.audit_code([tmp_path]) == status
