"""A TorchScript module (scripted or traced), stored as `torch.jit.save` writes it.

The file holds compiled code, which runs when the model is loaded and asked; so it always needs a signature.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final, Self

from streamb.errors import ArtifactUntrusted
from streamb.models.adapters.torch_model import TorchModel
from streamb.models.manifest import Manifest

_FILE: Final = "module.pt"
_DESCRIPTION: Final = "torchscript.json"


class TorchScriptModel(TorchModel):
    """A TorchScript module; inputs, outputs and classes are as in `TorchModel`."""

    class_id: ClassVar[str] = "torchscript"
    framework: ClassVar[str] = "torch"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "torch")
    takes: ClassVar[tuple[str, ...]] = ("torch.jit.ScriptModule",)

    def write_payload(self, folder: Path) -> bool:
        import torch

        with _without_notice():
            first = io.BytesIO()
            torch.jit.save(self.module, first)
            first.seek(0)
            # a module that was loaded is written with other names than one that was compiled; from then on they stay
            torch.jit.save(torch.jit.load(first, map_location="cpu"), folder / _FILE)  # type: ignore[no-untyped-call]
        (folder / _DESCRIPTION).write_text(json.dumps({"classes": self.classes}), "utf-8")
        return True

    @classmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:  # noqa: ARG003
        import torch

        if not may_run_code:
            raise ArtifactUntrusted("a TorchScript file holds code; the artifact needs a trusted signature")
        with _without_notice():
            module = torch.jit.load(folder / _FILE, map_location="cpu")  # type: ignore[no-untyped-call]
        return cls(module, classes=json.loads((folder / _DESCRIPTION).read_text("utf-8"))["classes"])


@contextmanager
def _without_notice() -> Iterator[None]:
    """Silence torch's notice that TorchScript will be replaced: who serves a model cannot change it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
