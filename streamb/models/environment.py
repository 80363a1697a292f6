"""The environment of a model: the installed distributions that it needs. Captured when it is saved, compared at load.

A distribution is what `pip install` installs ("scikit-learn"); its modules are what code imports ("sklearn"). Several
distributions can provide one module (xgboost and xgboost-cpu), so an environment also records modules, and any
distribution that provides the recorded module stands for the recorded one.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, packages_distributions
from importlib.util import find_spec
from typing import Final

from streamb.errors import EnvironmentMismatch
from streamb.models.source import is_local

UNKNOWN: Final = "unknown"
"""The recorded version of a distribution that was not installed when the model was saved."""

_PYTHON: Final = "python"
_OWN: Final = "streamb"
_STABLE_FILES: Final = frozenset({"safetensors", "skops"})
"""Libraries of version 0 whose later releases read the files of earlier ones."""
_FIRST_YEAR: Final = 1990  # a first number from here on is a year (calendar versioning)
_NUMBERS: Final = re.compile(r"v?(?:(\d+)!)?(\d+)(?:\.(\d+))?")
_VERSION_LINE: Final = re.compile(r"^Version:\s*(\S+)", re.MULTILINE)
_PUNCTUATION: Final = re.compile(r"[-_.]+")


@dataclass(frozen=True, slots=True)
class Environment:
    """What a model was saved with.

    Attributes:
        versions: the versions of Python, streamb and each distribution that the model needs, by name.
        modules: distribution -> the module that it provides, where the two have different names.
    """

    versions: Mapping[str, str]
    modules: Mapping[str, str] = field(default_factory=dict)


class Gap(Enum):
    """How far an installed version is from the recorded one."""

    NONE = "none"
    MINOR = "minor"
    MAJOR = "major"


def capture(libraries: Iterable[str], modules: Iterable[str]) -> Environment:
    """Return the present versions of what a model needs.

    Args:
        libraries: distributions by name; one that is installed under another name is found by its module. If it is not
            installed at all, its version is recorded as "unknown".
        modules: full names of modules that the model uses. A module that no installed distribution provides (the
            standard library, carried code) is left out.
    """
    found = distributions_of(modules)
    for library in libraries:
        name = _normal(library)
        provider = name if _installed(name) else _provider(name.replace("-", "_"))
        found[provider or name] = _version(provider) if provider else UNKNOWN
    named = {name: _module_of(name) for name in found}
    return Environment(
        {_PYTHON: platform.python_version(), _OWN: _version(_OWN), **dict(sorted(found.items()))},
        {name: module for name, module in sorted(named.items()) if module and _normal(module) != name},
    )


def distributions_of(modules: Iterable[str]) -> dict[str, str]:
    """Return the version of each installed distribution that provides one of these modules, by its name.

    Names are normalized: lower case, with `-` between words.

    >>> sorted(distributions_of(["sklearn.svm", "numpy", "json"]))
    ['numpy', 'scikit-learn']
    """
    foreign = {module for module in modules if _top(module) in _providers() and not is_local(module)}
    owners = {_provider(module) for module in foreign} - {None, _OWN}
    return {name: _version(name) for name in sorted(filter(None, owners))}


def compare(recorded: Environment, model: str) -> list[str]:
    """Compare a recorded environment with the present one.

    A version of 0 has no stable minor version, so there another minor version counts as another major one (the rule of
    semantic versioning, as in the `^` of Cargo, npm and Poetry), except for the libraries that promise to read their
    old files. Of two years (calendar versioning) none is a major version. An unknown version is never judged, and
    streamb neither: the artifact's format version decides for it.

    Args:
        recorded: what the manifest lists; what it does not list is not judged.
        model: the model's name, for the message.

    Returns:
        One sentence for each difference that may change answers: another minor version, another version of Python.

    Raises:
        EnvironmentMismatch: a distribution is missing or has another major version; it names each of them, and the
            command that installs what the model needs.
    """
    refused: dict[str, str] = {}
    warnings: list[str] = []
    present = platform.python_version()
    if _gap(recorded.versions.get(_PYTHON, UNKNOWN), present) is not Gap.NONE:
        warnings.append(f"Python is {present} here and was {recorded.versions[_PYTHON]}")
    for name, version in recorded.versions.items():
        if name in {_PYTHON, _OWN} or version == UNKNOWN:
            continue
        provider, installed = _present(name, recorded.modules.get(name, name.replace("-", "_")))
        if installed is None:
            refused[_pin(name, version)] = f"{name} {version} is not installed here"
            continue
        gap = version_gap(name, version, installed)
        difference = f"{provider} is {installed} here and was {version}"
        if gap is Gap.MAJOR:
            refused[_pin(provider, version)] = difference
        elif gap is Gap.MINOR:
            warnings.append(difference)
    if refused:
        command = "pip install " + " ".join(f"'{pin}'" for pin in refused)
        raise EnvironmentMismatch(
            f"the model {model!r} cannot be loaded with what is installed here: {'; '.join(refused.values())}. "
            f"Install what it was saved with: {command}",
            install=list(refused),
        )
    return warnings


def version_gap(name: str, recorded: str, present: str) -> Gap:
    """Return how far two versions of a distribution are apart; NONE if one of them is not understood.

    >>> version_gap("scikit-learn", "1.8.0", "1.9.1"), version_gap("statsmodels", "0.13.5", "0.14.0")
    (<Gap.MINOR: 'minor'>, <Gap.MAJOR: 'major'>)
    """
    gap = _gap(recorded, present)
    if gap is Gap.MINOR and name not in _STABLE_FILES and _numbers(recorded)[:2] == (0, 0):
        return Gap.MAJOR
    return gap


def _gap(recorded: str, present: str) -> Gap:
    old, new = _numbers(recorded), _numbers(present)
    if not old or not new or old == new:
        return Gap.NONE
    years = min(old[1], new[1]) >= _FIRST_YEAR
    return Gap.MINOR if old[:2] == new[:2] or years else Gap.MAJOR


def _numbers(version: str) -> tuple[int, ...]:
    """Return epoch, major and minor number; empty if this is no version."""
    found = _NUMBERS.match(version)
    return tuple(int(number or 0) for number in found.groups()) if found else ()


def _pin(name: str, version: str) -> str:
    """Return the requirement that pip installs any patch of this version for."""
    found = _NUMBERS.match(version)
    return f"{name}=={found.group()}.*" if found else name


def _present(name: str, module: str) -> tuple[str, str | None]:
    """Return the installed distribution that stands for `name`, and its version; None if there is none."""
    if _installed(name):
        return name, _version(name)
    provider = _provider(module)
    if provider is not None:
        return provider, _version(provider)
    try:  # a module on the path that no distribution owns
        return name, UNKNOWN if find_spec(_top(module)) is not None else None
    except (ImportError, ValueError):
        return name, None


def _provider(module: str) -> str | None:
    """Return the distribution that provides a module; where several share its package, the one that has its file."""
    names = _providers().get(_top(module), ())
    if len(names) > 1:
        inner = module.replace(".", "/")
        names = tuple(name for name in names if _has_file(name, inner)) or names
    return names[0] if names else None


def _has_file(name: str, inner: str) -> bool:
    ends = (f"{inner}.", f"{inner}/__init__.")
    return any(str(file).startswith(ends) for file in distribution(name).files or ())


def _providers() -> Mapping[str, tuple[str, ...]]:
    """Return the distributions that provide each top-level module."""
    return _providers_on(tuple(sys.path))


@cache
def _providers_on(path: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:  # noqa: ARG001 - the key of the cache
    found = packages_distributions()
    return {module: tuple(sorted({_normal(name) for name in names if name})) for module, names in found.items()}


def _module_of(name: str) -> str:
    """Return the public top-level module of a distribution, the one with its own name if there is one; "" if none."""
    tops = sorted(top for top, names in _providers().items() if name in names and not top.startswith("_"))
    return next((top for top in tops if _normal(top) == name), tops[0] if tops else "")


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except (PackageNotFoundError, ValueError):
        return None


def _version(name: str) -> str:
    """Return the version of a distribution, without parsing the whole of its metadata."""
    found = _installed(name)
    line = _VERSION_LINE.search((found.read_text("METADATA") or found.read_text("PKG-INFO") or "") if found else "")
    return line.group(1) if line else UNKNOWN


def _normal(name: str) -> str:
    return _PUNCTUATION.sub("-", name).lower()


def _top(module: str) -> str:
    return module.partition(".")[0]
