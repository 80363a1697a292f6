"""The documents are complete and true: settings, routes, commands, files, links, and the shell lines in them."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamb.config import VARIABLES_OF_JOBS
from streamb.metrics.limits import Limits
from streamb.monitoring.alerts.silences import SilenceOptions
from streamb.rollouts.options import BatchingOptions, HealthCriteria, ResourceOptions, RolloutOptions
from streamb.serving.http.routes import Action, parse_route
from tests.documented import (
    ARCHITECTURE,
    CONFIGURATION,
    DOCUMENTS,
    ROOT,
    SECURITY,
    blocks,
    commands,
    console_routes,
    first_line,
    option_rows,
    source_files,
    table_rows,
    variables,
    with_file_map,
    with_permission_tables,
    with_settings_table,
)

PROSE = {path.name: path.read_text() for path in DOCUMENTS}
SHELL_FILES = (*DOCUMENTS, ROOT / "cluster.yaml")
OPEN_PAGES = {"GET /", "GET /api/openapi.json", "GET /api/openapi-v2.json", "GET /api/docs", "GET /healthz"}
SHARED_OPTIONS = {"--json", "--state-dir", "--address", "--api-key", "--limit", "--help"}


class TestSettings:
    def test_the_table_says_what_the_code_says(self):
        text = CONFIGURATION.read_text()
        assert text == with_settings_table(text), "run `make map`"
        assert text.count("\n| `ML_") == len(variables() - set(VARIABLES_OF_JOBS))

    def test_no_document_speaks_of_a_variable_that_does_not_exist(self):
        known = variables()
        for path in (*SHELL_FILES, ROOT / "docs/kuberay.yaml"):
            named = set(re.findall(r"\bML_[A-Z_]*[A-Z]\b", path.read_text()))
            assert named <= known, path


class TestOptions:
    @pytest.mark.parametrize(
        ("document", "group"),
        [
            ("deployments.md", RolloutOptions),
            ("deployments.md", HealthCriteria),
            ("deployments.md", BatchingOptions),
            ("deployments.md", ResourceOptions),
            ("monitoring.md", Limits),
            ("alerting.md", SilenceOptions),
        ],
    )
    def test_the_tables_say_what_is_declared(self, document, group):
        rows = table_rows(ROOT / "docs" / document)
        for name, (unit, default, meaning) in option_rows(group).items():
            _, shown_unit, shown_default, shown_meaning = rows[name]
            assert (shown_unit, shown_meaning) == (unit, meaning), name
            assert default in {None, shown_default}, name


class TestRoutes:
    documented = frozenset(re.findall(r"`((?:GET|POST|PUT|DELETE|PATCH) /[^`\s]*)`", PROSE["api.md"]))

    def test_every_console_route_is_documented_and_the_other_way_round(self):
        assert {route for route in self.documented if " /v2" not in route} - OPEN_PAGES == console_routes()

    def test_every_documented_gateway_route_is_one(self):
        gateway = {route for route in self.documented if " /v2" in route}
        actions = {
            parse_route(*route.replace("{m}", "iris").replace("{v}", "1.0.0").split()).action for route in gateway
        }
        assert len(gateway) == 13
        assert actions == set(Action)

    def test_error_codes_exist(self):
        from streamb.errors import error_classes

        known = {(str(cls.status), code) for code, cls in error_classes().items()}
        for line in re.findall(r"^\| (\d{3}) \| .*? \| (.*) \|$", PROSE["api.md"], re.MULTILINE):
            assert {(line[0], code) for code in re.findall(r"`(\w+)`", line[1])} <= known

    def test_metrics_exist(self):
        from streamb.metrics.export import limited_text, prometheus_text
        from streamb.metrics.snapshot import Snapshot
        from streamb.monitoring.exposition import MonitorFacts, monitor_text
        from streamb.rollouts.exposition import deployments_text

        exported = prometheus_text([Snapshot("m", "1")], gateways=1, version="0") + monitor_text(MonitorFacts())
        exported += deployments_text((), Counter(), 0.0) + limited_text({})
        exported = exported.decode()
        for name in set(re.findall(r"`(streamb_\w+)", PROSE["api.md"])):
            assert re.search(rf"^# TYPE {name} ", exported, re.MULTILINE), name


class TestCommands:
    def test_every_command_has_its_section_with_every_option(self):
        sections = dict(
            re.findall(r"^### `streamb ([^`]*)`\n(.*?)(?=^#|\Z)", PROSE["cli.md"], re.MULTILINE | re.DOTALL)
        )
        by_command = {
            tuple(word for word in re.split(r"\s", title) if word.islower()): text for title, text in sections.items()
        }
        assert by_command.keys() == commands().keys()
        for command, options in commands().items():
            missing = {option for option in options - SHARED_OPTIONS if f"`{option}" not in by_command[command]}
            assert not missing, command

    def test_shared_options_are_explained_once(self):
        for option in SHARED_OPTIONS - {"--help"}:
            assert f"| `{option}" in PROSE["cli.md"]

    @pytest.mark.parametrize("path", SHELL_FILES, ids=lambda path: path.name)
    def test_shell_lines_use_commands_and_options_that_exist(self, path: Path):
        for words in streamb_lines(path):
            command = max((c for c in commands() if tuple(words[: len(c)]) == c), key=len, default=None)
            assert command is not None, words
            own = words[len(command) : words.index("--") if "--" in words else None]
            used = {word.split("=")[0] for word in own if word.startswith("--")}
            assert used <= commands()[command], words

    def test_there_are_shell_lines(self):
        assert sum(1 for path in SHELL_FILES for _ in streamb_lines(path)) >= 10

    def test_make_targets_exist(self):
        targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        for path in DOCUMENTS:
            assert set(re.findall(r"\bmake ([a-z]+)\b", "\n".join(blocks(path, "bash")))) <= targets, path
        assert {"run", "test", "fast", "bench", "clean"} <= targets


def streamb_lines(path: Path) -> Iterator[list[str]]:
    """The words after `streamb` of every call in a document's shell blocks (or anywhere in a YAML file's comments)."""
    text = path.read_text() if path.suffix == ".yaml" else "\n".join(blocks(path, "bash"))
    for line in text.replace("\\\n", " ").splitlines():
        for call in re.findall(r"(?:^|[\s'])streamb ((?:[a-z]+\b)[^'#&|]*)", line):
            words = shlex.split(call)
            if words[0] in {command[0] for command in commands()}:
                yield words


class TestFileMap:
    def test_it_is_what_make_map_writes(self):
        text = ARCHITECTURE.read_text()
        assert text == with_file_map(text), "run `make map`"

    def test_so_are_the_tables_of_permissions(self):
        text = SECURITY.read_text()
        assert text == with_permission_tables(text), "run `make map`"

    def test_every_file_says_what_it_is(self):
        assert [path for path in source_files() if len(first_line(path)) < 10] == []


class TestDocuments:
    def test_relative_links_lead_somewhere(self):
        for path in (*DOCUMENTS, ROOT / "CHANGELOG.md"):
            for target in re.findall(r"\]\((?!https?://|#)([^)#]+)[^)]*\)", path.read_text()):
                assert (path.parent / target).exists(), f"{path.name}: {target}"

    def test_examples_of_json_are_json(self):
        found = [block for path in DOCUMENTS for block in blocks(path, "json")]
        assert found
        for block in found:
            json.loads(block)

    def test_the_readme_shows_the_sample_as_it_is(self):
        from streamb.sdk.sample import SAMPLE_ID, SAMPLE_ROW

        assert f"/v2/models/{SAMPLE_ID}/predict" in PROSE["README.md"]
        assert json.dumps({"instances": [SAMPLE_ROW]}) in PROSE["README.md"]
