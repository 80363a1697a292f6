"""What there is to document, read from the code: settings, console routes, commands, files. Used by test_docs.

As a program (`make map`) it writes the file map of docs/architecture.md, the table of docs/configuration.md, the tables
of permissions in docs/security.md and the points of the Open Inference Protocol in docs/api.md.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from streamb.config import VARIABLES_OF_JOBS, Settings, variable_of
from streamb.monitoring.channels.opening import channel_variables
from streamb.options import Options
from streamb.security.permissions import CONSOLE, GATEWAY, JUDGES_MODELS, MEANINGS, ROLES, Needed

ROOT = Path(__file__).parent.parent
MAPPED = ("streamb", "serve_apps", "tune_jobs")
ARCHITECTURE = ROOT / "docs/architecture.md"
CONFIGURATION = ROOT / "docs/configuration.md"
API = ROOT / "docs/api.md"
SECURITY = ROOT / "docs/security.md"
MAP_BEGINS = "<!-- `make map` writes what follows, from the first line of each module. -->"
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))


def settings_rows() -> Iterator[str]:
    """The table rows of docs/configuration.md."""
    for name, field in Settings.model_fields.items():
        extra: dict[str, Any] = field.json_schema_extra
        values = list((extra.get("presets") or {"": field.default}).values())
        shown = " / ".join(_shown(value) for value in values)
        effect = f"with {extra['later']}" if extra["later"] else "now"
        yield f"| `{variable_of(name)}` | {shown} | {field.description} | {effect} |"


def channel_rows() -> Iterator[str]:
    """The rows about the settings of alert channels, below the others."""
    for name, variable in channel_variables().items():
        yield f"| `{variable_of(name)}` |  | {variable.sentence} | now |"


def variables() -> set[str]:
    """Every variable that a document may speak of."""
    return {variable_of(name) for name in (*Settings.model_fields, *channel_variables())} | set(VARIABLES_OF_JOBS)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def table_rows(document: Path) -> dict[str, list[str]]:
    """The cells of every row that begins with a name, by that name."""
    found = (
        [cell.strip() for cell in line.strip().strip("|").split("|")] for line in document.read_text().splitlines()
    )
    return {cells[0].strip("`"): cells for cells in found if len(cells) == 4 and cells[0].startswith("`")}


def option_rows(group: type[Options]) -> dict[str, tuple[str, str | None, str]]:
    """The table rows of declared options: unit and range, default (None: the declaration has none) and meaning."""
    schema = group.model_json_schema()["properties"]
    return {
        name: (
            _unit_and_range(schema[name]),
            None if field.default is None or isinstance(field.default, Options | tuple) else _shown_default(field),
            field.description or "",
        )
        for name, field in group.model_fields.items()
    }


def _shown_default(field: Any) -> str:
    if field.is_required() or field.default == "":
        return "needed" if field.is_required() else ""
    if isinstance(field.default, str):
        return field.default
    return str(field.default).lower() if isinstance(field.default, bool) else f"{field.default:g}"


def _unit_and_range(schema: dict[str, Any]) -> str:
    one = schema.get("anyOf", [schema])[0]
    if "enum" in one:
        return ", ".join(map(str, one["enum"][:-1])) + f" or {one['enum'][-1]}"
    if one.get("type") == "boolean":
        return "true or false"
    low, above, high = one.get("minimum"), one.get("exclusiveMinimum"), one.get("maximum")
    if one.get("type") not in {"number", "integer"}:
        return str(schema["unit"])
    least = f"above {above:g}" if low is None else f"from {low:g}" if high is None else f"{low:g}"
    most = "" if high is None else f" to {high:,.0f}".replace(",", " ")
    return f"{schema['unit']}, {least}{most}"


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


def source_files() -> list[Path]:
    """Every Python file that the file map names; an empty `__init__.py` says nothing worth a line."""
    files = (path for package in MAPPED for path in (ROOT / package).rglob("*.py"))
    return sorted((path for path in files if path.stat().st_size), key=lambda path: (path.parent, path))


def first_line(path: Path) -> str:
    """The first sentence of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split()).removesuffix(".")


def file_map() -> str:
    """The file map: for each folder a table of its files, each with the first line of its docstring."""
    lines: list[str] = []
    for folder, files in itertools.groupby(source_files(), key=lambda path: path.parent):
        lines += [f"### {folder.relative_to(ROOT)}", "", "| file | what it is |", "| --- | --- |"]
        lines += [
            f"| `{path.relative_to(ROOT)}` | {first_line(path).replace('|', chr(92) + '|')} |" for path in files
        ] + [""]
    return "\n".join(lines)


def with_file_map(text: str) -> str:
    """The text of docs/architecture.md with the file map as the code has it now."""
    return text.split(MAP_BEGINS)[0] + MAP_BEGINS + "\n\n" + file_map()


def with_settings_table(text: str) -> str:
    """The text of docs/configuration.md with the table of settings as the code has it now."""
    rows = "\n".join([*settings_rows(), *channel_rows()])
    return re.sub(r"(^\| `ML_.*\n)+", lambda _: f"{rows}\n", text, count=1, flags=re.MULTILINE)


PERMISSIONS_BEGIN = "<!-- `make map` writes these tables from streamb/security/permissions.py. -->\n"
PERMISSIONS_END = "<!-- Here they end. -->\n"


def permission_tables() -> Iterator[str]:
    """The tables of permissions: what each allows and who has it, and what each request needs."""
    yield "| permission | what it allows | roles that have it |\n| --- | --- | --- |"
    for permission, meaning in MEANINGS.items():
        yield f"| `{permission}` | {meaning} | {', '.join(role for role in ROLES if permission in ROLES[role])} |"
    yield "\n| request to the Console | needs | a key for some models |\n| --- | --- | --- |"
    for place, needed in CONSOLE.items():
        path = place[1]
        some = (
            "its models"
            if "{model_id}" in path
            else "only theirs is shown or changed"
            if place in JUDGES_MODELS
            else ""
        )
        yield f"| `{place[0]} {path}` | {_needed(needed)} | {(some or 'refused') if needed else ''} |"
    yield "\n| action of a gateway | needs |\n| --- | --- |"
    yield from (f"| `{action}` | {_needed(needed)} |" for action, needed in GATEWAY.items())


def _needed(needed: Needed) -> str:
    return " or ".join(f"`{one}`" for one in needed) or "nothing, not even a key"


def with_permission_tables(text: str) -> str:
    """The text of docs/security.md with the tables of permissions as the code has them now."""
    before, rest = text.split(PERMISSIONS_BEGIN)
    tables = "\n".join(permission_tables())
    return f"{before}{PERMISSIONS_BEGIN}\n{tables}\n\n{PERMISSIONS_END}{rest.split(PERMISSIONS_END)[1]}"


def protocol_points() -> list[tuple[str, str]]:
    """The points of the Open Inference Protocol that tests show, each with the part that it belongs to."""
    points = []
    for name in ("test_protocol.py", "test_datatypes.py"):
        for part in ast.parse((ROOT / "tests" / "conformance" / name).read_text()).body:
            if isinstance(part, ast.ClassDef):
                tests = [test for test in part.body if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef)]
                points += [
                    (ast.get_docstring(part) or "", " ".join((ast.get_docstring(test) or "").split())) for test in tests
                ]
    return points


def with_protocol_points(text: str) -> str:
    """The text of docs/api.md with the table of these points as the tests have them now."""
    begins = "| part | point |\n| --- | --- |\n"
    before, _, rest = text.partition(begins)
    after = re.sub(r"\A(\|.*\n)*", "", rest)
    rows = "".join(f"| {part} | {point} |\n" for part, point in protocol_points())
    return f"{before}{begins}{rows}{after}"


def blocks(document: Path, language: str) -> list[str]:
    """The fenced code blocks of a document in one language."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", document.read_text(), re.MULTILINE | re.DOTALL)


if __name__ == "__main__":
    ARCHITECTURE.write_text(with_file_map(ARCHITECTURE.read_text()))
    CONFIGURATION.write_text(with_settings_table(CONFIGURATION.read_text()))
    SECURITY.write_text(with_permission_tables(SECURITY.read_text()))
    API.write_text(with_protocol_points(API.read_text()))
