"""The modules that a model uses: the types in it and the imports of the code that it carries."""

from __future__ import annotations

import functools
import math
from collections import Counter, OrderedDict
from decimal import Decimal

import numpy as np

from streamb.models.used_modules import parts, used_modules


class Holder:
    def __init__(self, held: object) -> None:
        self.held = held


class TestTypes:
    def test_of_values_in_every_container(self, tmp_path):
        holder = Holder([{"a": (Decimal(1),)}, {OrderedDict}, np.array([Counter()], dtype=object), math.sqrt, math])
        assert {"decimal", "collections", "numpy", "math", __name__} <= used_modules(holder, tmp_path)

    def test_of_base_classes_and_partial_functions(self, tmp_path):
        class Special(Decimal):
            pass

        assert "decimal" in used_modules(Holder(Special(1)), tmp_path)
        assert "functools" in used_modules(Holder(functools.partial(functools.reduce, Decimal(1))), tmp_path)

    def test_an_object_that_holds_itself_ends(self):
        holder = Holder(None)
        holder.held = [holder]
        assert list(parts(holder)).count(holder) == 1


class TestCarriedCode:
    def test_needs_what_it_imports_but_not_what_it_can_do_without(self, tmp_path):
        (tmp_path / "code" / "pkg").mkdir(parents=True)
        (tmp_path / "code" / "pkg" / "net.py").write_text(
            "import needed.inner\n"
            "from . import sibling\n"
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    import only_types\n"
            "try:\n    import faster\nexcept ImportError:\n    faster = None\n"
            "def late():\n    from later import part\n    return part\n"
        )
        found = used_modules(None, tmp_path)
        assert {"needed.inner", "later", "later.part", "typing"} <= found
        assert not {"only_types", "faster", "sibling", ""} & found
