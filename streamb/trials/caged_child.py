"""The process of an isolated model: `python -m streamb.trials.caged_child FD FOLDER KEY…` loads it and answers batches.

FD is its only way to the replica: a socket on which batches come and replies go, in the frames of the links. The last
arguments are the public keys whose signature allows the artifact to bring code.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from pathlib import Path

from streamb.config import mark_role
from streamb.crypto import PublicKey
from streamb.errors import ModelFailed, StreambError, TrialFailed, words_of
from streamb.models.example import read_golden
from streamb.models.model import load_artifact
from streamb.serving.batch import Batch
from streamb.serving.links.frames import Kind, frame_header, read_frame
from streamb.serving.links.wire import decode_batch, encode_error, encode_reply
from streamb.serving.references import References
from streamb.serving.replica import BatchPredictor
from streamb.trials.golden import check_golden

_log = logging.getLogger(__name__)


def main(channel: socket.socket, folder: Path, trusted: list[PublicKey]) -> None:
    """Load the artifact in `folder`, say so, and answer until the replica closes its end."""
    mark_role("replica")
    try:
        predictor = _loaded(folder, trusted)
    except StreambError as error:
        channel.sendall(encode_error(0, error))
        return
    except BaseException as error:  # own code may raise anything, even SystemExit
        words = f"the version raised {words_of(error)} while it was loaded"
        channel.sendall(encode_error(0, TrialFailed(words)))
        return
    channel.sendall(frame_header(0, Kind.WELCOME, 0))
    while (frame := read_frame(channel)) is not None:
        channel.sendall(_answered(predictor, frame.call, decode_batch(frame.payload)))


def _loaded(folder: Path, trusted: list[PublicKey]) -> BatchPredictor:
    model, golden = load_artifact(folder, trusted=trusted), read_golden(folder)
    if golden is not None:
        check_golden(model, golden)
    return BatchPredictor(model, references=References())


def _answered(predictor: BatchPredictor, call: int, batch: Batch) -> bytes:
    try:
        return encode_reply(call, predictor.run(batch))
    except ModelFailed as error:
        return encode_error(call, error)
    except Exception as error:
        _log.error("the answer of the model cannot be sent: %s", words_of(error))
        return encode_error(call, ModelFailed("the model's answer cannot be sent; the log of the replica says why"))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    main(
        socket.socket(fileno=int(sys.argv[1])),
        Path(sys.argv[2]),
        [PublicKey(bytes.fromhex(key)) for key in sys.argv[3:]],
    )
    sys.stderr.flush()
    os._exit(0)
