"""Label tables: what each output channel of a network means. Nothing else in the package knows a label number."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from monai_mamba.errors import InputError
from monai_mamba.files import user_path

LABEL_FOLDER = Path(__file__).resolve().parent
COLUMNS = ("index", "id", "name", "red", "green", "blue", "alpha", "written")
LARGEST_ID = 2**20


@dataclass(frozen=True)
class LabelEntry:
    """One row of a label table.

    Attributes:
        index: output channel of the network, from 0 (background) without gaps.
        id: label value in files, such as FreeSurfer's id; `name` is FreeSurfer's own, too.
        color: red, green, blue, alpha, each 0..255; alpha 255 is opaque.
        written: whether voxels of this class keep their id in the output. Classes that only support training (such as
            cerebral cortex against false positives outside the brain) are written as background.
    """

    index: int
    id: int
    name: str
    color: tuple[int, int, int, int]
    written: bool


@dataclass(frozen=True)
class LabelTable:
    """The classes of one task, in channel order."""

    entries: tuple[LabelEntry, ...]

    @classmethod
    def load(cls, source: str | Path | LabelTable, auxiliary: bool = False) -> LabelTable:
        """Read the table of a name (`"subcortical"`) or path; one that has been read is taken as it is.

        Args:
            source: name of a table of the package, or a TSV file with the columns `COLUMNS`.
            auxiliary: the auxiliary classes are written, too.

        Raises:
            InputError: there is no such table, or its rows are not usable.
        """
        if isinstance(source, LabelTable):
            return cls(tuple(replace(entry, written=True) for entry in source)) if auxiliary else source
        path = user_path(source)
        if path.suffix != ".tsv":
            path = LABEL_FOLDER / f"{source}.tsv"
        if not path.is_file():
            known = ", ".join(label_tables())
            raise InputError(f"There is no label table '{source}'. Give the path of a TSV file or one of: {known}.")
        try:
            reader = csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t")
        except UnicodeError as error:
            raise InputError(f"{path}: no text in UTF-8 ({error}). Save it as such.") from error
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise InputError(f"{path}: columns are {reader.fieldnames}, expected {list(COLUMNS)}.")
        try:
            entries = tuple(
                LabelEntry(
                    index=int(row["index"]),
                    id=_number(row["id"], LARGEST_ID),
                    name=row["name"],
                    color=tuple(_number(row[name], 255) for name in ("red", "green", "blue", "alpha")),
                    written=row["written"] == "1",
                )
                for row in reader
            )
        except (TypeError, ValueError) as error:  # a cell that is missing is None
            raise InputError(
                f"{path}, line {reader.line_num}: {error}. Expected whole numbers for index, id and color."
            ) from error
        if [entry.index for entry in entries] != list(range(len(entries))) or not entries or entries[0].id != 0:
            raise InputError(f"{path}: rows must be numbered 0, 1, 2, ... and start with the background (id 0).")
        if len({entry.id for entry in entries}) != len(entries):
            raise InputError(f"{path}: a label id occurs twice.")
        return cls.load(cls(entries), auxiliary)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[LabelEntry]:
        return iter(self.entries)

    @property
    def ids(self) -> tuple[int, ...]:
        """Label id of each channel, auxiliary classes included."""
        return tuple(entry.id for entry in self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each channel."""
        return tuple(entry.name for entry in self.entries)

    @property
    def structures(self) -> tuple[LabelEntry, ...]:
        """Classes that appear in the output: written, and not the background."""
        return tuple(entry for entry in self.entries if entry.written and entry.id != 0)

    @property
    def index_of_id(self) -> dict[int, int]:
        """Channel of each label id, auxiliary classes included: the mapping that training targets need."""
        return {entry.id: entry.index for entry in self.entries}

    @property
    def mirror(self) -> list[int]:
        """For each channel, the channel of the same structure on the other side, by the names `Left-`, `Right-`."""
        index = {entry.name: entry.index for entry in self.entries}
        return [index.get(other_side(entry.name), entry.index) for entry in self.entries]

    def ids_in(self, other: LabelTable) -> dict[int, int]:
        """For each id, the id of the same structure in another table, whose names need not say the side.

        Raises:
            InputError: a structure is not in the other table.
        """
        ids = {entry.name: entry.id for entry in other}
        missing = [name for name in self.names if name not in ids and without_side(name) not in ids]
        if missing:
            raise InputError(
                f"--written_table has no id for {', '.join(missing)}; it has {', '.join(other.names)}. Choose one of "
                "the same structures."
            )
        return {entry.id: ids.get(entry.name, ids.get(without_side(entry.name))) for entry in self}

    def for_channels(self, channels: int) -> LabelTable:
        """The table of a network with `channels` outputs: all rows, or the written ones without the auxiliary classes.

        Raises:
            InputError: a network with that many outputs does not belong to this table.
        """
        written = tuple(entry for entry in self.entries if entry.written)
        if channels == len(self.entries):
            return self
        if channels == len(written) and self.entries[:channels] == written:
            return LabelTable(written)
        raise InputError(
            f"The network has {channels} output channels, but the label table has {len(written)} classes and "
            f"{len(self.entries)} with the auxiliary ones. Use the table that the network was trained with."
        )


def without_side(name: str) -> str:
    """The name of a structure without `Left-` or `Right-` in front."""
    return re.sub("^(Left-|Right-)", "", name)


def other_side(name: str) -> str:
    """The name of the same structure on the other side, by `Left` or `Right` in front; others stay as they are."""
    swap = {"Left": "Right", "Right": "Left"}
    return re.sub("^(Left|Right)", lambda side: swap[side[0]], name)


def label_tables() -> list[str]:
    """Names of the label tables of the package; its folder holds tables of other kinds, too."""
    header = "\t".join(COLUMNS)
    files = sorted(LABEL_FOLDER.glob("*.tsv"))
    return [file.stem for file in files if file.read_text(encoding="utf-8").startswith(header)]


def _number(text: str, largest: int) -> int:
    number = int(text)
    if not 0 <= number <= largest:
        raise ValueError(f"{text} is not from 0 to {largest}")
    return number
