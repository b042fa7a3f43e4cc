"""The few array operations that the Python array API standard does not have.

Everything else in this package is written on the standard, so that NumPy, CuPy and torch arrays
(and any other that keeps to it) take the same lines.
"""

from typing import Any, Dict, Iterator, Optional, Sequence

import numpy

Array = Any  # of any library that keeps to the array API standard
_NAMESPACES: Dict[type, Any] = {}
# How large `blocks` are at most: what stays in a processor's cache, and what keeps a GPU busy.
CELLS_ON_HOST, CELLS_ELSEWHERE = 1 << 18, 1 << 22
# Of NumPy's arrays a block is this share, but not so small that calls take longer than numbers.
SHARE, MIN_CELLS = 8, 1 << 13


def namespace(array: Array) -> Any:
    """The array API namespace of an array."""
    kind = type(array)
    if kind not in _NAMESPACES:
        if is_numpy(array) and hasattr(numpy, "astype"):  # from 2.1 on it keeps to the standard
            _NAMESPACES[kind] = numpy
        else:
            # Imported when first needed: spaCy imports this package at every start.
            from array_api_compat import array_namespace

            _NAMESPACES[kind] = array_namespace(array)
    return _NAMESPACES[kind]


def like(values: Any, array: Array, dtype: Any = None) -> Array:
    """Numbers, or an array of any library, on the device and of the type of another array."""
    xp, device = namespace(array), array.device
    if isinstance(values, float):
        if xp is numpy and dtype is None:
            return array.dtype.type(values)  # which is faster than an array of no dimension
        return xp.asarray(values, dtype=dtype or array.dtype, device=device)
    if type(values) is type(array):
        return xp.astype(values.to(device) if hasattr(values, "to") else values, array.dtype)
    values = to_numpy(values) if hasattr(values, "shape") else numpy.asarray(values)
    if values.dtype.kind == "f":  # not every device holds float64
        values = values.astype("float32" if array.dtype == xp.float32 else "float64")
    return xp.asarray(values, dtype=dtype or array.dtype, device=device)


def to_numpy(array: Array) -> numpy.ndarray:
    """On the host, without a copy where it is there already."""
    if isinstance(array, numpy.ndarray):
        return array
    if hasattr(array, "get"):  # CuPy
        return array.get()
    if hasattr(array, "detach"):  # torch
        return array.detach().cpu().numpy()
    if hasattr(array, "to_device"):
        return numpy.asarray(array.to_device(namespace(array).Device("CPU_DEVICE")))
    return numpy.asarray(array)


def floor(array: Array) -> float:
    """The number that stands for 0 where a logarithm or a ratio is taken."""
    return 16 * float(namespace(array).finfo(array.dtype).smallest_normal)


def at_least(array: Array, low: float) -> Array:
    """The larger of each entry and ``low``."""
    if is_numpy(array):
        return numpy.maximum(array, low)
    if hasattr(array, "clamp"):
        return array.clamp(min=low)
    xp = namespace(array)
    return xp.maximum(array, xp.asarray(low, dtype=array.dtype, device=array.device))


def full_like(array: Array, number: float) -> Array:
    """One number, in the shape and type and on the device of an array."""
    if not is_numpy(array):
        return namespace(array).full_like(array, number)
    made = numpy.empty(array.shape, dtype=array.dtype)  # numpy.full_like is slow on small ones
    made.fill(number)
    return made


def gather(array: Array, ids: Array) -> Array:
    """``(N,)``: of each row ``(N, C)`` the column that ids ``(N,)`` say."""
    if is_numpy(array):
        return array[numpy.arange(len(ids)), ids]
    if hasattr(array, "scatter_add_"):
        return array.gather(1, ids[:, None])[:, 0]
    return namespace(array).take_along_axis(array, ids[:, None], axis=1)[:, 0]


def add_at(array: Array, ids: Array, values: Array) -> None:
    """Add values ``(N,)``, in place, to the column of each row that ids ``(N,)`` say."""
    if _has_fancy_indices(array):
        array[namespace(array).arange(ids.shape[0]), ids] += values
    elif hasattr(array, "scatter_add_"):
        array.scatter_add_(1, ids[:, None], values[:, None])
    else:
        array += _one_hot(ids, array.shape[1], array) * values[:, None]


def add_product(array: Array, factors: Array, others: Array, used_up: bool = False) -> Array:
    """``array + factors * others``, in place of the first, or of ``others`` if that is used up."""
    if hasattr(array, "addcmul"):
        return namespace(array).addcmul(array, factors, others, out=others if used_up else array)
    if used_up:
        others *= factors
        others += array
        return others
    array += factors * others
    return array


def sum_by(values: Array, ids: Array, size: int) -> Array:
    """``(size,)``: the sum of values ``(N,)`` by ids ``(N,)`` from 0 on."""
    if is_numpy(values):
        if size > CELLS_ON_HOST:  # bincount makes float64 of all
            sums = numpy.zeros(size, dtype=values.dtype)
            numpy.add.at(sums, ids, values)
            return sums
        return numpy.bincount(ids, weights=values, minlength=size).astype(values.dtype)
    xp = namespace(values)
    if hasattr(values, "index_add"):
        return values.new_zeros(size).index_add_(0, ids, values)
    if _has_fancy_indices(values):
        if not values.shape[0]:  # CuPy's bincount takes no empty array
            return xp.zeros(size, dtype=values.dtype)
        return xp.bincount(ids, weights=values, minlength=size).astype(values.dtype)
    return xp.sum(_one_hot(ids, size, values) * values[:, None], axis=0)


def blocks(array: Array) -> Iterator[slice]:
    """Rows of ``(N, C)``, in parts that bound what is in use beside it."""
    n_rows, n_columns = array.shape
    if is_numpy(array):
        cells = min(CELLS_ON_HOST, max(MIN_CELLS, n_rows * n_columns // SHARE))
    else:
        cells = CELLS_ON_HOST if str(array.device) == "cpu" else CELLS_ELSEWHERE
    step = max(1, cells // max(1, n_columns))
    for first in range(0, n_rows, step):
        yield slice(first, min(first + step, n_rows))


def total(array: Array, axis: Optional[int] = None) -> Array:
    """The sum of all entries, a scalar array, or that along an axis of floats ``(N, C)``."""
    if axis is not None and is_numpy(array):  # whose sums of short rows are slow
        ones = numpy.ones(array.shape[axis], dtype=array.dtype)
        return ones @ array if axis == 0 else array @ ones
    if hasattr(array, "sum"):
        return array.sum() if axis is None else array.sum(axis)
    return namespace(array).sum(array, axis=axis)


def row_sums(array: Array) -> Array:
    """``(N,)``: the sum of each row ``(N, C)``, as a product with ones, which is faster."""
    ones = namespace(array).ones(array.shape[1], dtype=array.dtype, device=array.device)
    return array @ ones


def concat(arrays: Sequence[Array]) -> Array:
    """The rows of all arrays, one after another."""
    return namespace(arrays[0]).concat(list(arrays), axis=0)


def _one_hot(ids: Array, size: int, like: Array) -> Array:
    xp = namespace(like)
    hits = ids[:, None] == xp.arange(size, device=like.device)[None, :]
    return xp.astype(hits, like.dtype)


def _has_fancy_indices(array: Array) -> bool:
    return is_numpy(array) or hasattr(array, "get")


def is_numpy(array: Array) -> bool:
    """Whether it is NumPy's own."""
    return isinstance(array, (numpy.ndarray, numpy.generic))
