"""Reports: the HTML page and its pictures, the live table, the lines of a log, CSV, JSON, TensorBoard, PNG."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from streamb.charts.svg import text_width
from streamb.clock import ManualClock
from streamb.errors import ConfigError, InvalidInput
from streamb.hpo import Space
from streamb.hpo.reporting import (
    PICTURES,
    Board,
    LiveTable,
    LogLines,
    progress_for,
    read_trial,
    report_of,
    report_page,
    write_csv,
    write_json,
    write_png,
    write_tensorboard,
)
from streamb.hpo.reporting.board import axes_of
from streamb.hpo.reporting.pictures import contour, slices
from streamb.hpo.study.files import describe, read_described
from streamb.hpo.study.study import Outcome, TrialResult
from tests.hpo.studied import SPACE, result, trials, view

VOID = {"meta", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """What a page consists of; refuses one that is not well formed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [
            (name, value) for name, value in attrs if name in {"src", "href", "xlink:href", "action", "data"}
        ]
        if tag == "tr":
            self.rows.append([])
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self._open and self._open[-1] in {"td", "th"}:
            self.rows[-1].append(data)


@pytest.fixture(scope="module")
def page() -> str:
    return report_of(result(), title="SVC <digits>", space=SPACE)


class TestPage:
    def test_it_is_well_formed_and_fetches_nothing(self, page):
        read = Page(page)
        assert "script" not in read.tags
        assert read.links == []
        assert "url(" not in page
        assert "@import" not in page
        assert {*re.findall(r"https?://[^\s\"'<]+", page)} == {"http://www.w3.org/2000/svg"}
        assert "default-src 'none'" in page
        assert read.tags.count("svg") == 5
        for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
            ET.fromstring(picture)

    def test_what_was_told_is_text_and_no_markup(self, page):
        assert "<script>" not in page
        assert "&lt;script&gt;" in page
        assert "SVC &lt;digits&gt;" in page

    def test_the_numbers_are_right(self, page):
        found = result()
        rows = Page(page).rows
        facts = {row[0]: row[1] for row in rows if len(row) == 2}
        assert facts["best score"] == f"{found.best_score:.6g} (trial {found.best_number})"
        assert facts["defaults, same folds"] == (
            f"{found.improvements.default_score:.6g} ({found.improvements.relative_improvement:+.2f} %)"
        )
        assert facts["trials"] == "40 (38 completed, 1 failed, 1 pruned)"
        assert facts["best again, other folds"] == "0.88 ± 0.014, 2 times"
        table = [row for row in rows if len(row) >= 4 and row[0] == str(found.best_number)][-1]
        assert table[1:3] == [f"{found.best_score:.6g}", "completed"]
        listed = [row for row in rows if len(row) >= 3 and row[-1] and row[0].isdigit()]
        assert len(listed) == 41  # all of them, and the failed one again with its reason

    def test_history_shows_every_trial_where_its_score_is(self, page):
        picture = ET.fromstring(re.findall(r"<svg.*?</svg>", page, re.DOTALL)[0])
        dots = picture.findall("{*}circle")
        assert len(dots) == 39
        by_number = {int(re.match(r"trial (\d+)", dot.find("{*}title").text).group(1)): dot for dot in dots}
        best = result().best_number
        assert min(by_number, key=lambda number: float(by_number[number].get("cy"))) == best
        assert by_number[7].get("fill") == "none"
        across = [float(by_number[number].get("cx")) for number in sorted(by_number)]
        assert across == sorted(across)

    def test_a_study_that_has_only_begun(self):
        board = Board.of(trials(3), objective="accuracy", direction="maximize", space=SPACE)
        page = report_page(board, title="t", facts={"data": "a.csv"})
        assert "This needs 8 trials" in page
        assert "a.csv" in page
        nothing = Board.of([], objective="accuracy", direction="minimize", space=SPACE)
        said = Page(report_page(nothing, title="t")).words
        assert {"No trial has completed.", "none yet"} <= {*said}

    def test_without_a_space_axes_are_read_off_the_trials(self):
        page = report_of(result())
        assert Page(page).tags.count("svg") == 5
        names = {axis.name: axis for axis in axes_of(None, [trial.parameters for trial in trials()])}
        assert names["C"].log
        assert set(names["kernel"].values) == {"rbf", "poly", "linear"}

    def test_one_parameter_has_no_contour_and_strange_values_are_drawn(self):
        space = Space.of({"gamma": (0.1, 10.0, "log")})
        made = [TrialResult(0, {"gamma": "scale"}, 0.5, (0.5,), Outcome.COMPLETED, 1, 0)]
        made += [
            TrialResult(k, {"gamma": 0.1 * k}, 0.5 + k / 100, (0.5 + k / 100,), Outcome.COMPLETED, 1, k)
            for k in range(1, 12)
        ]
        board = Board.of(made, objective="r2", direction="maximize", space=space)
        assert contour(board) is None
        assert "scale" in report_page(board, title="t")

    def test_a_hundred_parameters_are_not_a_hundred_bars(self):
        rng = np.random.default_rng(0)
        names = [f"p{i}" for i in range(100)]
        made = []
        for number in range(20):
            parameters = dict(zip(names, rng.random(100).tolist(), strict=True))
            score = parameters["p7"]
            made.append(TrialResult(number, parameters, score, (score,), Outcome.COMPLETED, 1, number))
        board = Board.of(made, objective="r2", direction="maximize", space=Space.of(dict.fromkeys(names, (0.0, 1.0))))
        words = Page(report_page(board, title="t")).words
        assert any(word.startswith("80 more, each of at most") for word in words)

    def test_labels_of_categories_fit_into_their_places(self):
        long = [
            "a name that is much too long for its place",
            "another name that is",
            "a third one, as long as they are",
        ]
        space = Space.of({"kind": long})
        made = [TrialResult(k, {"kind": long[k % 3]}, k / 9, (k / 9,), Outcome.COMPLETED, 1, k) for k in range(9)]
        picture = slices(Board.of(made, objective="r2", direction="maximize", space=space))
        shown = [label for label in re.findall(r">([^<>]+)</text>", str(picture)) if label.startswith("a")]
        assert len(shown) == 3
        assert all(text_width(label) < 300 / 3 for label in shown)


class TestScoresOfStoppedTrials:
    def test_they_are_compared_on_the_folds_they_had(self):
        easy_first = [
            TrialResult(0, {"x": 1.0}, 0.7, (0.9, 0.5), Outcome.COMPLETED, 1, 0),
            TrialResult(1, {"x": 2.0}, 0.85, (0.85,), Outcome.PRUNED, 1, 0),
        ]
        board = Board.of(easy_first, objective="r2", direction="maximize")
        assert board.trials[1].score == pytest.approx(0.65)
        assert board.best_number == 0


class TestAxes:
    def test_values_outside_of_the_space_widen_the_axis(self):
        (axis,) = axes_of(Space.of({"C": (0.1, 10.0, "log")}), [{"C": 100.0}])
        assert (axis.low, axis.high) == (0.1, 100.0)
        assert axis.position(100.0) == 1.0

    @pytest.mark.parametrize("space", [Space.of({"gamma": (1e-5, 1.0, "log")}), None])
    def test_a_default_that_is_no_number_is_beside_the_range(self, space):
        """As `gamma="scale"` of a support vector machine: the range stays one, and every trial has its place on it."""
        tried = [{"gamma": "scale"}, *({"gamma": 10.0**-k} for k in range(6))]
        (axis,) = axes_of(space, tried)
        assert (axis.values, axis.others, axis.log) == (None, ("scale",), True)
        places = [axis.position(one["gamma"]) for one in tried]
        assert places[0] > max(places[1:])
        assert places[1:] == sorted(places[1:], reverse=True)
        assert axis.position("auto") is None

    def test_a_list_with_a_number_in_it_stays_a_list(self):
        (axis,) = axes_of(None, [{"max_features": value} for value in ("sqrt", "log2", 0.5, None)])
        assert axis.values == ("sqrt", "log2", 0.5, None)


class TestProgress:
    def test_a_line_a_trial(self):
        lines: list[str] = []
        watcher, made = LogLines(lines.append), trials(8)
        watcher.began(view(finished=tuple(made[:5])))
        for trial in made[5:]:
            watcher.trial(trial, made[0], 90.0)
        watcher.ended(result())
        assert len(lines) == 1 + 3 + 2
        assert lines[0].startswith("svc on digits: maximize accuracy, 40 trials, 5 of them done before")
        assert "trial 5 [6/40] failed: ValueError" in lines[1]
        assert "(pruned after 1 folds)" in lines[3]
        assert lines[2].endswith("(trial 0), 1 min 30 s left")
        assert "stopped by trials" in lines[-1]

    def test_the_table_shows_the_last_trials_the_best_and_the_time(self):
        from rich.console import Console

        clock, out = ManualClock(), io.StringIO()
        console = Console(file=out, width=140, force_terminal=True, color_system=None)
        table = LiveTable(console, clock)
        table.began(view())
        made = trials(30)
        best = result().trials[1]
        for trial in made:
            table.trial(trial, best, 12.0)
        clock.advance(65)
        plain = Console(file=io.StringIO(), width=160)
        plain.print(table.render())
        shown = plain.file.getvalue()
        assert "trial 30 of 40" in shown
        assert "1 min 5 s passed; about 12.0 s left" in shown
        assert "(trial 1)" in shown
        assert re.search(r"^ *29 ", shown, re.MULTILINE)
        assert not re.search(r"^ *3 ", shown, re.MULTILINE)
        table.ended(result())
        assert out.getvalue()
        table.close()

    def test_texts_of_the_user_s_are_no_markup_in_the_table(self):
        from rich.console import Console

        table = LiveTable(Console(file=io.StringIO()), ManualClock())
        table.began(replace(view(), name="model[0]", objective="score[red]"))
        table.trial(replace(trials()[0], parameters={"a[b]": "[/]"}), None, None)
        table.close()
        plain = Console(file=io.StringIO(), width=160)
        plain.print(table.render())
        shown = plain.file.getvalue()
        assert all(text in shown for text in ("model[0]", "score[red]", "a[b]", "[/]"))

    def test_a_file_gets_lines_and_a_terminal_the_table(self):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        assert isinstance(progress_for(io.StringIO()), LogLines)
        assert isinstance(progress_for(Terminal()), LiveTable)


class TestFiles:
    def test_csv_has_a_column_per_parameter_and_fold(self, tmp_path):
        write_csv(trials(), tmp_path / "trials.csv")
        with (tmp_path / "trials.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 40
        assert float(rows[3]["score"]) == trials()[3].score
        assert float(rows[3]["param.C"]) == trials()[3].parameters["C"]
        assert rows[5]["score"] == ""
        assert rows[7]["fold.1"] == ""
        assert {row["param.degree"] for row in rows if row["param.kernel"] != "poly"} == {""}

    def test_json_comes_back(self, tmp_path):
        write_json(result(), tmp_path / "result.json")
        body = json.loads((tmp_path / "result.json").read_text())
        assert [read_trial(one) for one in body["trials"]] == list(result().trials)
        with pytest.raises(InvalidInput, match="not a trial"):
            read_trial({"number": 1})

    def test_tensorboard_has_curves_and_hyperparameters(self, tmp_path):
        write_tensorboard(result(8), tmp_path / "tb")
        files = sorted((tmp_path / "tb").rglob("events.*"))
        assert {path.parent.name for path in files} == {"study", *(f"trial-000{k}" for k in (0, 1, 2, 3, 4, 6, 7))}
        content = (tmp_path / "tb" / "trial-0001").glob("*").__next__().read_bytes()
        assert b"kernel" in content
        assert b"_hparams_/" in content
        assert b"accuracy/best" in next((tmp_path / "tb" / "study").iterdir()).read_bytes()

    def test_a_space_is_read_back_from_json(self):
        space = Space.of(
            {
                "layers": {"type": "categorical", "values": [(64,), (64, 32)]},
                "rate": {"type": "float", "low": 0.0, "high": 1.0, "step": 0.25},
                "n": {"type": "int", "low": 2, "high": 64, "log": True, "when": {"rate": [0.25, 0.5]}},
                "seed": 3,
            }
        )
        again = read_described(json.loads(json.dumps(describe(space))))
        assert again is not None
        assert again.names == space.names
        assert again.searched[2].conditions == space.searched[2].conditions
        assert read_described({"x": {"type": "odd"}}) is None
        assert read_described(None) is None


class TestPng:
    def test_they_need_matplotlib(self, tmp_path, monkeypatch):
        board = Board.of(trials(), objective="accuracy", direction="maximize", space=SPACE)
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(ConfigError, match=r"pip install 'streamb\[plot\]'"):
            write_png(board, "history", tmp_path / "history.png")

    def test_pictures(self, tmp_path):
        board = Board.of(trials(), objective="accuracy", direction="maximize", space=SPACE)
        for picture in PICTURES:
            write_png(board, picture, tmp_path / f"{picture}.png")
            assert (tmp_path / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
        failed = Board.of(
            [one for one in trials() if one.score is None], objective="accuracy", direction="maximize", space=SPACE
        )
        write_png(failed, "history", tmp_path / "failed.png")

    def test_what_cannot_be_drawn_is_said(self, tmp_path):
        board = Board.of(trials(3), objective="accuracy", direction="maximize", space=SPACE)
        with pytest.raises(InvalidInput, match="there are history, importance, parallel, slice, contour"):
            write_png(board, "pie", tmp_path / "a.png")
        with pytest.raises(InvalidInput, match="more trials"):
            write_png(board, "contour", tmp_path / "a.png")
