"""Writes the signature and the trial of a version for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_LONGEST_LIST: Final = 20
_STATES: Final = {
    "loads": "loads; predictions untried",
    "untried": "untried; its next deployment tries it",
}


def trial_words(trial: Mapping[str, Any]) -> str:
    """Return the state of a trial.

    >>> trial_words({"state": "passed", "rows": 20})
    'passed: answers as where it was made, 20 rows'
    """
    if trial["state"] == "passed":
        return f"passed: answers as where it was made, {trial['rows']} rows"
    return _STATES.get(trial["state"], str(trial["state"]))


def signature_facts(version: Mapping[str, Any]) -> dict[str, str]:
    """Return the signature of a version: what it takes and what it answers."""
    schema = version["schema"] or {}
    inputs = [_input(feature) for feature in schema.get("features", [])]
    facts = {
        f"inputs of {version['version']}": _listed(inputs) or "any rectangular rows",
        "outputs": _listed([_output(output) for output in version["outputs"]]) or "unknown",
        "trial": trial_words(version["trial"]),
    }
    if version["classes"] is not None:
        facts["classes"] = _listed([str(label) for label in version["classes"]])
    return facts


def _input(feature: Mapping[str, Any]) -> str:
    kind = " ".join(filter(None, [feature.get("dtype", ""), _shape(feature), _nulls(feature)]))
    return f"{feature['name']}: {feature['kind']}" + (f" ({kind})" if kind else "")


def _nulls(feature: Mapping[str, Any]) -> str:
    return "optional" if feature.get("optional") else "nullable" if feature.get("nullable") else ""


def _output(output: Mapping[str, Any]) -> str:
    kind = " ".join(filter(None, [output["dtype"], _shape(output)]))
    return f"{output['name']}: {output['kind']}" + (f" ({kind})" if kind else "")


def _shape(of: Mapping[str, Any]) -> str:
    axes = of.get("shape") or ()
    return " x ".join("any" if axis is None else str(axis) for axis in axes)


def _listed(items: list[str]) -> str:
    more = [] if len(items) <= _LONGEST_LIST else [f"and {len(items) - _LONGEST_LIST} more"]
    return ", ".join(items[:_LONGEST_LIST] + more)
