"""Griffe extension: read this package's docstrings as mkdocstrings needs them."""

from __future__ import annotations

import re
from typing import Any

from griffe import Class, Extension, GriffeLoader, Object

ROLE = re.compile(r":(?:class|func|meth):`~?\.?([^`]+)`")


class Conventions(Extension):
    """
    - Sphinx's roles become code.
    - The section ``Example`` becomes ``Examples``, and the ``Args`` of a named tuple its ``Attributes``.
    """

    def on_object(self, *, obj: Object, loader: GriffeLoader, **kwargs: Any) -> None:
        if obj.docstring:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)

    def on_class(self, *, cls: Class, loader: GriffeLoader, **kwargs: Any) -> None:
        if cls.docstring and "NamedTuple" in map(str, cls.bases):
            cls.docstring.value = re.sub(r"^Args:$", "Attributes:", cls.docstring.value, flags=re.MULTILINE)
