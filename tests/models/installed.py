"""Distributions that are really installed, in a folder of their own on the import path."""

from __future__ import annotations

from pathlib import Path


def install(folder: Path, distribution: str, version: str, module: str, body: str = "") -> None:
    """Write a module and the metadata of its distribution, as pip leaves them; `folder` must be on the path."""
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").write_text(body)
    about = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n\nVersion: 9.9\n"
    )
    (about / "RECORD").write_text(f"{module}/__init__.py,,\n{about.name}/METADATA,,\n{about.name}/RECORD,,\n")
