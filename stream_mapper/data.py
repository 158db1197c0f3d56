"""Stars as named columns, with a mask of what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stream_mapper.errors import InputError

Names = str | tuple[str, ...] | list[str]
Rows = slice | Tensor
Values = Tensor | NDArray[Any] | Sequence[float]
"""What can be a column: one number a star, or a row of them."""


class Columns(Mapping[str, Tensor]):
    """Named tensors of one length; several names at once are stacked on a last axis.

    Arguments:
        columns: Name to tensor, each of shape (N, ...).
    """

    def __init__(self, columns: Mapping[str, Tensor]) -> None:
        self._columns = dict(columns)

    def __getitem__(self, names: Names) -> Tensor:
        if isinstance(names, str):
            if names not in self._columns:
                raise KeyError(f"no column {names!r}; the data has {list(self._columns)}.")
            return self._columns[names]
        return torch.stack([self[name] for name in names], dim=-1)

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


class Data:
    """A table of N stars as tensors; NaN in the input means "not measured".

    A value that was not measured is stored as zero and is marked False in ``where``, so that a NaN never
    reaches a density.

        >>> data = Data({"phi1": torch.tensor([0.0, 1.0]), "g": torch.tensor([18.2, torch.nan])})
        >>> data["g"], data.where["g"], len(data[data.where["g"]])
        (tensor([18.2000,  0.0000]), tensor([ True, False]), 1)

    Arguments:
        columns: Name to tensor of shape (N,) or (N, F), or to an array or a list, of which it makes a tensor. Integers
            stay integers and arrays keep their precision; a list is of torch's default one. What is masked in an array
            is not measured.
        where: Name to boolean tensor of the same shape, True where measured; True where left out.
            A NaN is never measured.

    Raises:
        InputError: If the columns differ in length, there are none, one does not hold numbers or carries a unit, or
            ``where`` does not fit.
    """

    def __init__(self, columns: Mapping[str, Values], where: Mapping[str, Values] | None = None) -> None:
        tensors = {name: _tensor(name, values) for name, values in columns.items()}
        lengths = {name: column.shape[0] if column.ndim else None for name, column in tensors.items()}
        if not lengths or None in lengths.values() or len(set(lengths.values())) > 1:
            raise InputError(f"the columns of Data need one common length (N, ...); found {lengths}.")
        measured = {name: ~column.isnan() for name, column in tensors.items()}
        unknown = [name for name in where or {} if name not in columns]
        if unknown:
            raise InputError(f"where marks {unknown}, which are not among the columns {list(columns)}.")
        for name, mask in (where or {}).items():
            measured[name] = measured[name] & _mask(name, mask, tensors[name])
        self._columns = Columns({n: torch.where(measured[n], c, torch.zeros_like(c)) for n, c in tensors.items()})
        self.where = Columns(measured)

    @classmethod
    def _of(cls, columns: Mapping[str, Tensor], where: Mapping[str, Tensor]) -> Data:
        """Data from columns that are clean already."""
        data = cls.__new__(cls)
        data._columns, data.where = Columns(columns), Columns(where)
        return data

    @classmethod
    def cat(cls, tables: Sequence[Data]) -> Data:
        """The stars of several tables of the same columns, in order."""
        columns = {name: torch.cat([table[name] for table in tables]) for name in tables[0].names}
        return cls._of(columns, {name: torch.cat([table.where[name] for table in tables]) for name in columns})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._columns)

    @property
    def device(self) -> torch.device:
        """Device of the columns."""
        return next(iter(self._columns.values())).device

    def __len__(self) -> int:
        return next(iter(self._columns.values())).shape[0]

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __repr__(self) -> str:
        return f"Data({len(self)} stars: {', '.join(self.names)})"

    @overload
    def __getitem__(self, key: Names) -> Tensor: ...
    @overload
    def __getitem__(self, key: Rows) -> Data: ...
    def __getitem__(self, key: Names | Rows) -> Tensor | Data:
        if isinstance(key, str | tuple) or (isinstance(key, list) and key and isinstance(key[0], str)):
            return self._columns[key]
        rows: Rows = slice(0)
        if not isinstance(key, list):
            rows = key
        elif key:
            rows = torch.tensor(key, device=self.device)
        return self._of({n: c[rows] for n, c in self._columns.items()}, {n: m[rows] for n, m in self.where.items()})

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Data:
        """The same stars on another device; ``dtype`` applies to floating columns only."""
        columns = {
            name: column.to(device=device, dtype=dtype if column.is_floating_point() else None)
            for name, column in self._columns.items()
        }
        return self._of(columns, {name: mask.to(device=device) for name, mask in self.where.items()})

    def with_columns(self, columns: Mapping[str, Values]) -> Data:
        """The same stars with columns added or replaced (NaN = not measured, as everywhere)."""
        added = Data(columns)
        if len(added) != len(self):
            raise InputError(f"new columns have {len(added)} rows; the data has {len(self)}.")
        return self._of({**self._columns, **added._columns}, {**self.where, **added.where})

    def without(self, *names: str) -> Data:
        """The same stars but for some columns, which they may have or not."""
        return self.select([name for name in self.names if name not in names])

    def split(self, size: int) -> list[Data]:
        """The stars in order, ``size`` at a time; a table without stars is one part."""
        return [self[i : i + size] for i in range(0, max(len(self), 1), size)]

    def select(self, names: tuple[str, ...] | list[str]) -> Data:
        """The same stars with only these columns."""
        return self._of({n: self[n] for n in names}, {n: self.where[n] for n in names})


def _tensor(name: str, values: Values) -> Tensor:
    """Numbers as a tensor, in the precision they have."""
    if unit := str(getattr(values, "unit", None) or ""):
        advice = "convert it with stream_mapper.catalog.to_data, or give the plain numbers"
        raise InputError(f"column {name!r} carries the unit {unit!r}; {advice}.")
    if not isinstance(values, Tensor) and hasattr(values, "__array__"):
        return _from_array(name, values)
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"column {name!r} is no list of numbers ({error}); give one number a star.") from error
    if tensor.is_complex():
        raise InputError(f"column {name!r} holds complex numbers; real ones are needed.")
    return tensor


def _from_array(name: str, values: Any) -> Tensor:
    """A tensor from an array of any byte order, NaN where it is masked."""
    mask, array = getattr(values, "mask", None), np.asarray(values)
    if array.dtype.kind not in "biuf":
        content = "text" if array.dtype.kind in "US" else array.dtype.name
        example = f", such as {str(array.flat[0])!r}" if array.size else ""
        advice = "give one number a star, NaN where there is none"
        raise InputError(f"column {name!r} holds {content}{example}; {advice}.")
    if isinstance(mask, np.ndarray) and mask.any():
        array = np.where(mask, np.nan, array)
    if array.dtype.kind == "u" or array.dtype.itemsize > 8:  # torch has no such numbers
        array = array.astype(np.int64 if array.dtype.kind == "u" else np.float64)
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def _mask(name: str, where: Values, column: Tensor) -> Tensor:
    """Which values of a column were measured, as given."""
    mask = _tensor(name, where)
    if mask.dtype != torch.bool or mask.shape != column.shape:
        given = f"{str(mask.dtype).removeprefix('torch.')} of shape {tuple(mask.shape)}"
        raise InputError(f"where of {name!r} must be boolean, of shape {tuple(column.shape)}; found {given}.")
    return mask
