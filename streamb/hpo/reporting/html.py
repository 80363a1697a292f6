"""The report of a study: one HTML file with its numbers, charts and trials, which loads nothing from elsewhere.

Charts are inline SVG, the style is in the file, and there is no script; a content security policy in the file itself
forbids the browser to load anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from streamb.charts.axes import show
from streamb.charts.svg import DARK_STYLE, Canvas
from streamb.hpo.reporting.board import Board
from streamb.hpo.reporting.importance import FEWEST_TRIALS
from streamb.hpo.reporting.pictures import contour, history, importance_bars, parallel_coordinates, slices
from streamb.hpo.reporting.progress import show_all, without_prefix
from streamb.hpo.space import Space
from streamb.hpo.study.study import OptimizationResult, Outcome

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE: Final = """
:root { color-scheme: light dark; --text: #1f2937; --note: #5b6472; --line: #e5e7eb; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--chart-paper, #fff); }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.note { color: var(--note); max-width: 46rem; margin: .2rem 0 .8rem; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
tr.best td { font-weight: 600; color: var(--chart-orange, #c2410c); }
.figure { overflow-x: auto; } svg { max-width: none; } summary { cursor: pointer; }
@media (prefers-color-scheme: dark) { :root { --text: #e5e7eb; --note: #9ca3af; --line: #374151; DARK } }
""".replace("DARK", DARK_STYLE)

_SLICES: Final = (
    "Later trials are deeper in colour; the line is the forest's mean over all other parameters, where that is among "
    "the scores shown."
)


def report_page(
    board: Board, *, title: str, result: OptimizationResult | None = None, facts: Mapping[str, Any] | None = None
) -> str:
    """Return the report as one HTML document.

    Args:
        board: trials, axes and importance.
        title: the study's name for people.
        result: the result of a study that has ended; without one the report shows the progress so far.
        facts: more facts for the top of the report, by name.
    """
    told = {**_facts(board, result), **(facts or {})}
    parts = [
        f"<h1>{escape(title)}</h1>",
        _table(
            (), [(name, value if isinstance(value, str) else show(value)) for name, value in told.items()], numbers=()
        ),
        _best(board, result),
        *_pictures(board),
        _failures(board),
        _trials(board),
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{_STYLE}</style>'
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def report_of(result: OptimizationResult, *, title: str = "Hyperparameter search", space: Space | None = None) -> str:
    """Return the report of a study that has ended, as one HTML document.

    Args:
        result: the study's result.
        title: the study's name for people.
        space: the search space; None to read the axes off the trials.
    """
    board = Board.of(
        result.trials,
        objective=result.objective,
        direction=result.direction,
        space=space,
        best_number=result.best_number,
        seed=result.seed,
    )
    return report_page(board, title=title, result=result)


def _facts(board: Board, result: OptimizationResult | None) -> dict[str, Any]:
    ended = Counter(trial.status.value for trial in board.trials)
    counted = ", ".join(f"{count} {status}" for status, count in ended.items())
    facts: dict[str, Any] = {"objective": f"{board.objective}, {'higher' if board.maximize else 'lower'} is better"}
    best = board.best
    if best is not None and best.score is not None:
        facts["best score"] = f"{best.score:.6g} (trial {best.number})"
    if result is not None:
        facts |= result.worth()
    facts["trials"] = f"{len(board.trials)} ({counted})" if board.trials else "none yet"
    if result is not None:
        facts["time"] = f"{result.seconds:.1f} s, stopped by {result.stopped_by.value}"
        facts["seed"] = result.seed
    return facts


def _best(board: Board, result: OptimizationResult | None) -> str:
    chosen: Mapping[str, Any] = board.best.parameters if board.best is not None else {}
    if result is not None:
        chosen = without_prefix(board.prefix, result.best_parameters)
    if not chosen:
        return "<h2>Best parameters</h2><p>No trial has completed.</p>"
    first = next((trial for trial in board.trials if trial.number == 0), None)
    before = first.parameters if first is not None else {}
    rows = [(name, show(value), show(before[name]) if name in before else "") for name, value in chosen.items()]
    return "<h2>Best parameters</h2>" + _table(("parameter", "best", "first trial"), rows, numbers=(1, 2))


def _pictures(board: Board) -> Iterable[str]:
    yield _figure(
        "History",
        "Dots are trials over all folds, hollow dots were stopped early on fewer folds, crosses have no score; the "
        "line is the best so far. Extremely bad scores are drawn at the edge.",
        history(board),
    )
    bars = importance_bars(board)
    too_few = f"This needs {FEWEST_TRIALS} trials with different scores; there are {board.importance.trials}."
    explained = (
        f"The share of the score's variance over the search space that each parameter explains (fANOVA over a "
        f"forest fitted to {board.importance.trials} trials), with its spread over the trees; grey: what a pair "
        f"explains beyond each alone."
    )
    yield _figure("Importance", explained if bars else too_few, bars or "")
    others = (
        (
            "Parallel coordinates",
            "One line per trial; better ones have a stronger colour.",
            parallel_coordinates(board),
        ),
        ("Slices", _SLICES, slices(board)),
        (
            "Contour",
            "The forest's mean over all other parameters; stronger colour is better.",
            contour(board),
        ),
    )
    yield from (_figure(title, note, picture) for title, note, picture in others if picture is not None)


def _failures(board: Board) -> str:
    lost = [trial for trial in board.trials if trial.status in {Outcome.FAILED, Outcome.TIMED_OUT}]
    if not lost:
        return ""
    rows = [(trial.number, trial.status.value, trial.error or "-", show_all(trial.parameters)) for trial in lost]
    return "<h2>Trials without a score</h2>" + _table(("trial", "status", "reason", "parameters"), rows, numbers=(0,))


def _trials(board: Board) -> str:
    names = list(dict.fromkeys(name for trial in board.trials for name in trial.parameters))
    columns = ("trial", board.objective, "status", "s", *names)
    rows = []
    for trial in board.trials:
        values = (show(trial.parameters[name]) if name in trial.parameters else "" for name in names)
        score = "" if trial.score is None else f"{trial.score:.6g}"
        rows.append((trial.number, score, trial.status.value, f"{trial.seconds:.2f}", *values))
    marked = {place for place, trial in enumerate(board.trials) if trial.number == board.best_number}
    numbers = (0, 1, *range(3, len(columns)))
    table = _table(columns, rows, numbers=numbers, marked=marked)
    return f'<h2>Trials</h2><details open><summary>all {len(rows)}</summary><div class="figure">{table}</div></details>'


def _figure(title: str, note: str, picture: Canvas | str) -> str:
    return f'<h2>{escape(title)}</h2><p class="note">{escape(note)}</p><div class="figure">{picture}</div>'


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    numbers: Sequence[int],
    marked: Iterable[int] = (),
) -> str:
    """Return an HTML table; without column names, the first cell of each row is the row's name."""
    head = "".join(f"<th{_kind(place, numbers)}>{escape(name)}</th>" for place, name in enumerate(columns))
    chosen = set(marked)
    body = []
    for number, row in enumerate(rows):
        cells = [
            f"<th>{escape(str(cell))}</th>"
            if not columns and place == 0
            else f"<td{_kind(place, numbers)}>{escape(str(cell))}</td>"
            for place, cell in enumerate(row)
        ]
        best = ' class="best"' if number in chosen else ""
        body.append(f"<tr{best}>{''.join(cells)}</tr>")
    top = f"<thead><tr>{head}</tr></thead>" if columns else ""
    return f"<table>{top}<tbody>{''.join(body)}</tbody></table>"


def _kind(place: int, numbers: Sequence[int]) -> str:
    return ' class="number"' if place in numbers else ""
