"""Shapes in annotations: `Float32[np.ndarray, "B T"]` is an array of float32 with two axes.

Type checkers and running programs see the array alone. Where jaxtyping was imported before, as
pytest does, its types stand here instead, and every call in a test checks them.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or "jaxtyping" not in sys.modules:
    from typing import Annotated as Bool
    from typing import Annotated as Float
    from typing import Annotated as Float16
    from typing import Annotated as Float32
    from typing import Annotated as Float64
    from typing import Annotated as Int
    from typing import Annotated as Int16
    from typing import Annotated as Int32
    from typing import Annotated as Int64
    from typing import Annotated as UInt8
    from typing import Annotated as UInt64
else:
    from jaxtyping import (
        Bool,
        Float,
        Float16,
        Float32,
        Float64,
        Int,
        Int16,
        Int32,
        Int64,
        UInt8,
        UInt64,
    )

__all__ = [
    "Bool",
    "Float",
    "Float16",
    "Float32",
    "Float64",
    "Int",
    "Int16",
    "Int32",
    "Int64",
    "UInt8",
    "UInt64",
]
