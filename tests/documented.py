"""What there is to document, read from the code: settings, console routes, commands, files. Used by test_docs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamb.config import Settings, variable_of

ROOT = Path(__file__).parent.parent
MAPPED = ("streamb", "serve_apps", "tune_jobs")
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))


def settings_rows() -> Iterator[str]:
    """The table rows of docs/configuration.md."""
    for name, field in Settings.model_fields.items():
        extra: dict[str, Any] = field.json_schema_extra
        values = list((extra.get("presets") or {"": field.default}).values())
        shown = " / ".join(_shown(value) for value in values)
        effect = f"with {extra['later']}" if extra["later"] else "now"
        yield f"| `{variable_of(name)}` | {shown} | {field.description} | {effect} |"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def console_routes() -> set[str]:
    """METHOD and path of every route of the Console."""
    from streamb.api.app import create_app
    from streamb.clock import ManualClock
    from streamb.config import load_settings

    schema = create_app(None, None, load_settings(), ManualClock()).openapi()
    return {f"{method.upper()} {path}" for path, item in schema["paths"].items() for method in item}


def commands() -> dict[tuple[str, ...], set[str]]:
    """Every command with the options that it shows in its help, as ("models", "list") -> {"--json", …}."""
    import typer

    from streamb.cli.app import app

    return dict(_walk(typer.main.get_command(app), ()))


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    inner = getattr(command, "commands", None)
    for name, child in (inner or {}).items():
        yield from _walk(child, (*path, name))
    if not inner:
        shown = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
        yield path, {word for one in shown for word in (*one.opts, *one.secondary_opts)}


def source_files() -> set[str]:
    """Every Python file that the file map must name; an empty `__init__.py` says nothing worth a line."""
    files = (path for package in MAPPED for path in (ROOT / package).rglob("*.py"))
    return {str(path.relative_to(ROOT)) for path in files if path.stat().st_size and "__pycache__" not in path.parts}


def first_line(file: str) -> str:
    """The first sentence of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse((ROOT / file).read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


def file_map() -> dict[str, str]:
    """docs/architecture.md: file -> description, from the lines of its file map."""
    text = (ROOT / "docs/architecture.md").read_text()
    lines = re.findall(r"^(?:\| `([\w./]+\.py)` \| (.*) \|)$", text, re.MULTILINE)
    assert len(lines) == len(dict(lines)), "a file is named twice in the file map"
    return dict(lines)


def blocks(document: Path, language: str) -> list[str]:
    """The fenced code blocks of a document in one language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", document.read_text(), re.MULTILINE | re.DOTALL)
