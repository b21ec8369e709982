"""`World` as compiled code sees it: one address, behind which are those of all its arrays.

A function that took thirty arrays would hand over two hundred numbers at every call, and take long
to compile. So the loop is given the address of a table, (address, length) for every array, and
`w.groups` reads the array from there. Python keeps the arrays alive; nothing counts references.
"""

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    models,
    register_model,
)
from numba.np import numpy_support

from gcsim.engine.compiled.arrays import SHAPES, Array, World


class _WorldType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="gcsim.World")


_WORLD = _WorldType()


@register_model(_WorldType)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.IntType(64))


def _array_type(name: str) -> Any:
    dtype, axes = SHAPES[name]
    return types.Array(numpy_support.from_dtype(np.dtype(dtype)), axes, "C")


@infer_getattr
class _Attributes(AttributeTemplate):
    key = _WorldType

    def generic_resolve(self, _: Any, name: str) -> Any:  # type: ignore[override]
        return _array_type(name) if name in SHAPES else None


@lower_getattr_generic(_WorldType)
def _attribute(context: Any, builder: Any, _: Any, value: Any, name: str) -> Any:
    """The array of a name: its address, then its shape, from the table."""
    kind = _array_type(name)
    word = ir.IntType(64)
    table = builder.inttoptr(value, word.as_pointer())
    first = World._fields.index(name) * WORDS

    def read(place: int) -> Any:
        at = builder.gep(table, [ir.Constant(ir.IntType(64), first + place)])
        return builder.load(at)

    made = context.make_array(kind)(context, builder)
    size = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    shape = [read(1 + axis) for axis in range(kind.ndim)]
    strides = [ir.Constant(word, size)]
    for length in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], length))
    context.populate_array(
        made,
        data=builder.inttoptr(read(0), made.data.type),
        shape=cgutils.pack_array(builder, shape),
        strides=cgutils.pack_array(builder, strides),
        itemsize=ir.Constant(word, size),
        meminfo=None,
    )
    return made._getvalue()


@intrinsic
def _at(_: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return args[0]

    return _WORLD(types.int64), generate


at: Any = _at  # the world whose table is at an address


WORDS = 4  # of an array in the table: its address, and up to three lengths


def table_of(w: World) -> Array:
    """The table that the loop is given the address of (`table.ctypes.data`)."""
    table = np.zeros((len(w), WORDS), np.int64)
    for row, (name, array) in zip(table, w._asdict().items(), strict=True):
        assert (array.dtype, array.ndim) == SHAPES[name], name
        assert array.flags.c_contiguous, name
        row[0], row[1 : 1 + array.ndim] = array.ctypes.data, array.shape
    return table
