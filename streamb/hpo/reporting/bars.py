"""Picture: how much of the score's variance each parameter explains, and the pairs that do more together."""

from __future__ import annotations

from typing import Final

from streamb.hpo.reporting.board import Board
from streamb.hpo.reporting.svg import BLUE, GREY, Canvas, text_width

_WIDTH: Final = 760.0
_ROW: Final = 24.0
_MOST: Final = 20
_MOST_PAIRS: Final = 4
_SMALLEST_PAIR: Final = 0.005


def bars(board: Board) -> str:
    """As SVG: a bar per parameter with its share in percent and a whisker for its spread over the forest's trees."""
    pairs = [effect for effect in board.importance.together if effect.share >= _SMALLEST_PAIR][:_MOST_PAIRS]
    left_out = board.importance.alone[_MOST:]
    effects = [*board.importance.alone[:_MOST], *pairs]
    canvas = Canvas(_WIDTH, _ROW * (len(effects) + bool(left_out)) + 16, "importance of parameters")
    left = 16 + max([text_width(effect.label) for effect in effects], default=0.0)
    room = _WIDTH - left - 120
    for place, effect in enumerate(effects):
        y = 8 + _ROW * place
        canvas.text(left - 8, y + 15, effect.label, anchor="end")
        said = f"{effect.label}: {100 * effect.share:.1f} % ± {100 * effect.spread:.1f}"
        canvas.box(left, y + 4, max(effect.share * room, 1.0), _ROW - 8, BLUE if len(effect.names) == 1 else GREY, said)
        low, high = max(effect.share - effect.spread, 0.0), min(effect.share + effect.spread, 1.0)
        canvas.line(left + low * room, y + _ROW / 2, left + high * room, y + _ROW / 2, width=1.2, opacity=0.7)
        canvas.text(left + high * room + 8, y + 15, f"{100 * effect.share:.1f} %")
    if left_out:
        most = f"{100 * left_out[0].share:.1f} %"
        canvas.text(left, 8 + _ROW * len(effects) + 15, f"{len(left_out)} more, each of at most {most}")
    return str(canvas)
