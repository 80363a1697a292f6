"""Refuses what a request asks of extensions of the Open Inference Protocol that streamb does not have.

Parameters that are unknown to everybody are ignored, as the protocol says. These have a meaning, and a request that was
answered without it would be answered wrongly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from streamb.errors import BadRequest

_NOT_OURS: Final = {
    "classification": "the extension classification is not supported; request the output 'probabilities'",
    "sequence_id": "the extension sequence is not supported: no version keeps a state between requests",
    "shared_memory_region": "shared memory is not supported; tensors travel in requests and answers",
}
"""Parameter of a request, an input or an output -> why it is refused."""


def refuse_extensions(parameters: Mapping[str, Any]) -> None:
    """Raise `BadRequest` if a parameter belongs to an extension that streamb does not have.

    Args:
        parameters: of a request, an input or an output; null and 0 are as if absent.
    """
    for name in parameters.keys() & _NOT_OURS.keys():
        if parameters[name]:
            raise BadRequest(_NOT_OURS[name])
