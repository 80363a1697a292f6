"""Tiny distributions, as wheels that pip can install, or installed in a folder on the import path."""

from __future__ import annotations

import zipfile
from pathlib import Path


def write_wheel(folder: Path, distribution: str, version: str, module: str, body: str = "") -> Path:
    """Write a wheel with one package into an existing folder."""
    name = f"{distribution.replace('-', '_')}-{version}"
    files = {
        f"{module}/__init__.py": body,
        f"{name}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n\nVersion: 9",
        f"{name}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    listed = [*files, f"{name}.dist-info/RECORD"]
    files[listed[-1]] = "".join(f"{path},,\n" for path in listed)
    wheel = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return wheel


def install(folder: Path, distribution: str, version: str, module: str, body: str = "") -> None:
    """Write a package and the metadata of its distribution, as pip leaves them; `folder` must be on the path."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(write_wheel(folder, distribution, version, module, body)) as wheel:
        wheel.extractall(folder)
