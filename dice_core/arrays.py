"""The few array operations that the Python array API standard does not have.

Everything else in this package is written on the standard, so that NumPy, CuPy and torch arrays
(and any other that keeps to it) take the same lines.
"""

from typing import Any, Callable, Dict, List, Protocol, Sequence, Tuple, Union, cast

import numpy


class Array(Protocol):
    """An array of any library that keeps to the array API standard: what is used of it here."""

    @property
    def shape(self) -> Tuple[int, ...]:
        """Its sizes."""

    @property
    def dtype(self) -> Any:
        """The type of its numbers."""

    @property
    def device(self) -> object:
        """Where it is."""

    def __getitem__(self, key: object) -> "Array": ...
    def __setitem__(self, key: object, value: object) -> None: ...
    def __neg__(self) -> "Array": ...
    def __invert__(self) -> "Array": ...
    def __add__(self, other: object) -> "Array": ...
    def __radd__(self, other: object) -> "Array": ...
    def __sub__(self, other: object) -> "Array": ...
    def __rsub__(self, other: object) -> "Array": ...
    def __mul__(self, other: object) -> "Array": ...
    def __rmul__(self, other: object) -> "Array": ...
    def __truediv__(self, other: object) -> "Array": ...
    def __rtruediv__(self, other: object) -> "Array": ...
    def __pow__(self, other: object) -> "Array": ...
    def __matmul__(self, other: object) -> "Array": ...
    def __and__(self, other: object) -> "Array": ...
    def __or__(self, other: object) -> "Array": ...
    def __lt__(self, other: object) -> "Array": ...
    def __le__(self, other: object) -> "Array": ...
    def __gt__(self, other: object) -> "Array": ...
    def __ge__(self, other: object) -> "Array": ...
    def __eq__(self, other: object) -> "Array": ...  # type: ignore[override]
    def __float__(self) -> float: ...


class Namespace(Protocol):
    """The functions of an array library."""

    def __getattr__(self, name: str) -> Callable[..., Array]: ...


Number = Union[float, Array]
_numpy = cast(Namespace, numpy)
_NAMESPACES: Dict[type, Namespace] = {}
# How large `blocks` are at most: what stays in a processor's cache, and what keeps a GPU busy.
CELLS_ON_HOST, CELLS_ELSEWHERE = 1 << 18, 1 << 24
# Of NumPy's arrays a block is this share, but not so small that calls take longer than numbers.
SHARE, MIN_CELLS = 8, 1 << 13


def is_numpy(array: object) -> bool:
    """Whether it is NumPy's own."""
    return isinstance(array, (numpy.ndarray, numpy.generic))


def namespace(array: Array) -> Namespace:
    """The array API namespace of an array."""
    kind = type(array)
    if kind not in _NAMESPACES:
        if is_numpy(array) and hasattr(numpy, "astype"):  # from 2.1 on it keeps to the standard
            _NAMESPACES[kind] = _numpy
        else:
            # Imported when first needed: spaCy imports this package at every start.
            from array_api_compat import array_namespace

            _NAMESPACES[kind] = array_namespace(array)
    return _NAMESPACES[kind]


def device(array: Array) -> object:
    """The device of an array, for the argument of that name; NumPy's know theirs from 2.0 on."""
    return getattr(array, "device", "cpu")


def like(values: object, array: Array) -> Array:
    """Numbers, or an array of any library, on the device and of the type of another array."""
    xp, place = namespace(array), device(array)
    if isinstance(values, float):
        if xp is _numpy:
            return cast(Array, array.dtype.type(values))  # faster than an array of no dimension
        return xp.asarray(values, dtype=array.dtype, device=place)
    if type(values) is type(array):
        return xp.astype(values.to(place) if hasattr(values, "to") else values, array.dtype)
    host = to_numpy(values)
    if host.dtype.kind == "f":  # not every device holds float64
        host = host.astype("float32" if array.dtype == xp.float32 else "float64")
    return xp.asarray(host, dtype=array.dtype, device=place)


def to_numpy(array: Any) -> numpy.ndarray:
    """On the host, without a copy where it is there already."""
    if isinstance(array, numpy.ndarray):
        return array
    if hasattr(array, "get"):  # CuPy
        array = array.get()
    elif hasattr(array, "detach"):  # torch
        array = array.detach().cpu().numpy()
    elif not is_numpy(array) and hasattr(array, "to_device"):
        array = array.to_device(namespace(array).Device("CPU_DEVICE"))
    return numpy.asarray(array)


def wide(array: Array) -> Array:
    """In float64, in which counts of whole trainings stay exact; on the host, where the device
    has no such numbers.
    """
    if str(device(array)).startswith("mps"):
        return cast(Array, to_numpy(array).astype("float64"))
    xp = namespace(array)
    return xp.astype(array, xp.float64)


def limits(array: Array) -> numpy.finfo:
    """``max``, ``eps`` and ``smallest_normal`` of the type of an array."""
    return cast(numpy.finfo, namespace(array).finfo(array.dtype))


def floor(array: Array) -> float:
    """The number that stands for 0 where a logarithm or a ratio is taken."""
    return 16 * float(limits(array).smallest_normal)


def negligible(array: Array) -> float:
    """A sum of probabilities below which there is nothing, so that ratios by it stay finite, also
    times the number of rows: 2e-28 in float32.
    """
    return float(limits(array).eps) ** 4


def at_least(array: Array, low: float, reusable: bool = False) -> Array:
    """The larger of each entry and ``low``, in place of the array if that is reusable."""
    out = array if reusable and array.shape else None
    if is_numpy(array):
        return _numpy.maximum(array, low, out=out)
    xp = namespace(array)
    # torch's own is faster than that of the standard.
    return xp.clamp(array, min=low, out=out) if hasattr(xp, "clamp") else xp.clip(array, low, None)


def apply(name: str, array: Array) -> Array:
    """A function of each entry of an array that is nobody else's, by its name in the standard.

    It takes the array's place where the library can do that: a new array as large as the scores
    costs more time than the numbers in it.
    """
    if is_numpy(array) and array.shape:
        return cast(Array, getattr(numpy, name)(array, out=array))
    if hasattr(array, f"{name}_"):
        return cast(Array, getattr(array, f"{name}_")())
    return cast(Array, getattr(namespace(array), name)(array))


def full_like(array: Array, number: float) -> Array:
    """One number, in the shape and type and on the device of an array."""
    if not is_numpy(array):
        return namespace(array).full_like(array, number)
    made = numpy.empty(array.shape, dtype=array.dtype)  # numpy.full_like is slow on small ones
    made.fill(number)
    return cast(Array, made)


def gather(array: Array, ids: Array) -> Array:
    """``(N,)``: of each row ``(N, C)`` the column that ids ``(N,)`` say."""
    if is_numpy(array):
        return array[numpy.arange(ids.shape[0]), ids]
    xp = namespace(array)
    if hasattr(array, "scatter_add_"):  # torch
        return xp.gather(array, 1, ids[:, None])[:, 0]
    return xp.take_along_axis(array, ids[:, None], axis=1)[:, 0]


def add_at(array: Array, ids: Array, values: Array) -> None:
    """Add values ``(N,)``, in place, to the column of each row that ids ``(N,)`` say."""
    if _has_fancy_indices(array):
        array[namespace(array).arange(ids.shape[0]), ids] += values
    elif hasattr(array, "scatter_add_"):
        array.scatter_add_(1, ids[:, None], values[:, None])
    else:
        array += _one_hot(ids, array.shape[1], array) * values[:, None]


def add_product(array: Array, factors: Array, others: Array, reusable: bool = False) -> Array:
    """``array + factors * others``, in place of the first, or of ``others`` if that is reusable."""
    if hasattr(array, "addcmul"):
        out = others if reusable else array
        return namespace(array).addcmul(array, factors, others, out=out)
    if reusable:
        others *= factors
        others += array
        return others
    array += factors * others
    return array


def sum_by(values: Array, ids: Array, size: int) -> Array:
    """``(size,)``: the sum of values ``(N,)`` by ids ``(N,)`` from 0 on."""
    if isinstance(values, numpy.ndarray):
        if size <= CELLS_ON_HOST:
            counts = numpy.bincount(to_numpy(ids), weights=values, minlength=size)
            return cast(Array, counts.astype(values.dtype))
        sums = numpy.zeros(size, dtype=values.dtype)  # bincount makes float64 of all
        numpy.add.at(sums, to_numpy(ids), values)
        return cast(Array, sums)
    if hasattr(values, "new_zeros"):  # torch
        return cast(Array, values.new_zeros(size).index_add_(0, ids, values))
    xp = namespace(values)
    if _has_fancy_indices(values):
        if not values.shape[0]:  # CuPy's bincount takes no empty array
            return xp.zeros(size, dtype=values.dtype)
        return xp.astype(xp.bincount(ids, weights=values, minlength=size), values.dtype)
    return xp.sum(_one_hot(ids, size, values) * values[:, None], axis=0)


def blocks(array: Array) -> List[slice]:
    """Rows of ``(N, C)``, in parts that bound what else is in use at a time."""
    n_rows, n_columns = array.shape
    n_cells = n_rows * n_columns
    cells = min(MIN_CELLS, CELLS_ON_HOST)
    if n_cells > cells:
        if is_numpy(array):
            cells = min(CELLS_ON_HOST, max(MIN_CELLS, n_cells // SHARE))
        else:
            cells = CELLS_ON_HOST if str(device(array)) == "cpu" else CELLS_ELSEWHERE
    if n_cells <= cells:
        return [slice(0, n_rows)]
    step = max(1, cells // max(1, n_columns))
    return [slice(first, min(first + step, n_rows)) for first in range(0, n_rows, step)]


def total(array: Array) -> Array:
    """The sum of all entries, a scalar array; a scalar is its own."""
    if not array.shape:
        return array
    return cast(Array, array.sum()) if hasattr(array, "sum") else namespace(array).sum(array)


def column_sums(array: Array) -> Array:
    """``(C,)``: the sum of each column ``(N, C)``, as a product with ones, which is faster."""
    xp = namespace(array)
    return xp.ones(array.shape[0], dtype=array.dtype, device=device(array)) @ array


def row_sums(array: Array) -> Array:
    """``(N,)``: the sum of each row ``(N, C)``, as a product with ones, which is faster."""
    xp = namespace(array)
    return array @ xp.ones(array.shape[1], dtype=array.dtype, device=device(array))


def concat(arrays: Sequence[Array]) -> Array:
    """The rows of all arrays, one after another; of one the array itself."""
    return arrays[0] if len(arrays) == 1 else namespace(arrays[0]).concat(list(arrays), axis=0)


def _one_hot(ids: Array, size: int, like: Array) -> Array:
    xp = namespace(like)
    hits = ids[:, None] == xp.arange(size, device=device(like))[None, :]
    return xp.astype(hits, like.dtype)


def _has_fancy_indices(array: Array) -> bool:
    return is_numpy(array) or hasattr(array, "get")
