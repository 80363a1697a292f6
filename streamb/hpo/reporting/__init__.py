"""Shows a study: progress while it runs, files and charts afterwards, and the importance of its parameters."""

from streamb.hpo.reporting.board import Board
from streamb.hpo.reporting.html import report_of, report_page
from streamb.hpo.reporting.importance import Effect, Importance, importance
from streamb.hpo.reporting.pictures import PICTURES, write_png
from streamb.hpo.reporting.progress import LiveTable, LogLines, progress_for
from streamb.hpo.reporting.tensorboard import TensorBoardLog, write_tensorboard
from streamb.hpo.study.files import read_trial, write_csv, write_json

__all__ = [
    "PICTURES",
    "Board",
    "Effect",
    "Importance",
    "LiveTable",
    "LogLines",
    "TensorBoardLog",
    "importance",
    "progress_for",
    "read_trial",
    "report_of",
    "report_page",
    "write_csv",
    "write_json",
    "write_png",
    "write_tensorboard",
]
