"""Stars as named columns, with a mask of what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import overload

import torch
from torch import Tensor

from stream_mapper.errors import InputError

Names = str | tuple[str, ...] | list[str]
Rows = slice | Tensor


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
        columns: Name to tensor of shape (N,) or (N, F). Integers stay integers.
        where: Name to boolean tensor of the same shape, True where measured; True where left out.
            A NaN is never measured.

    Raises:
        InputError: If the columns differ in length, there are none, or ``where`` names another.
    """

    def __init__(self, columns: Mapping[str, Tensor], where: Mapping[str, Tensor] | None = None) -> None:
        lengths = {name: column.shape[0] if column.ndim else None for name, column in columns.items()}
        if not lengths or None in lengths.values() or len(set(lengths.values())) > 1:
            raise InputError(f"the columns of Data need one common length (N, ...); found {lengths}.")
        measured = {name: ~column.isnan() for name, column in columns.items()}
        unknown = [name for name in where or {} if name not in columns]
        if unknown:
            raise InputError(f"where marks {unknown}, which are not among the columns {list(columns)}.")
        for name, mask in (where or {}).items():
            measured[name] = measured[name] & mask
        self._columns = Columns({n: torch.where(measured[n], c, torch.zeros_like(c)) for n, c in columns.items()})
        self.where = Columns(measured)

    @classmethod
    def _of(cls, columns: Mapping[str, Tensor], where: Mapping[str, Tensor]) -> Data:
        """Data from columns that are clean already."""
        data = cls.__new__(cls)
        data._columns, data.where = Columns(columns), Columns(where)
        return data

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

    def with_columns(self, columns: Mapping[str, Tensor]) -> Data:
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
