"""Tables of all tokens of a text, which `fastlm score --table` writes: tab-separated, or Parquet."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from fastlm.cli.output import check_output

if TYPE_CHECKING:
    from fastlm.inference.measures import MeasuredTokens
    from fastlm.models.base import LanguageModel

__all__ = ["check_table", "write_table"]

ROW_GROUP = 1 << 17  # tokens: smaller groups cost a reader of Parquet more than their contents


def check_table(options: argparse.Namespace) -> None:
    """Refuse what does not go with a table, as a wrong call."""
    if options.table is None:
        if not options.distribution:
            options.wrong_call("argument --no-distribution: it is for a table; give --table")
        return
    for name in ("json", "per_word", "unbuffered"):
        if getattr(options, name):
            options.wrong_call(
                f"argument --table: the table is all that is written; leave out --{name.replace('_', '-')}"
            )
    check_output(options, options.table, (options.model, options.file))


def write_table(options: argparse.Namespace, model: "LanguageModel") -> None:
    """Write the table of a text to the file that the options name."""
    from fastlm.inference.measures import measure_batches
    from fastlm.storage import atomic_write_named

    batches = measure_batches(
        model,
        options.file,
        distribution=options.distribution,
        errors=options.errors,
        threads=options.threads,
        documents=options.documents,
    )
    write = _write_parquet if options.table.endswith(".parquet") else _write_lines
    if options.table == "-":
        write(sys.stdout.buffer, batches, options.distribution)
        return
    with atomic_write_named(options.table) as file:
        write(file, batches, options.distribution)


def _write_lines(file: BinaryIO, batches: Iterable["MeasuredTokens"], distribution: bool) -> None:
    header = "line\tplace\tword\tid\tsurprisal"
    file.write(f"{header}\tentropy\trank\n".encode() if distribution else f"{header}\n".encode())
    for words, table in batches:
        for word, (line, place, id, surprisal, *rest) in zip(words, table.tolist(), strict=True):
            cells = [str(line), str(place), word, str(id), f"{surprisal:z.6f}"]
            if distribution:
                entropy, rank = rest
                cells += [f"{entropy:z.6f}", str(rank)]
            file.write(("\t".join(cells) + "\n").encode())


def _write_parquet(file: BinaryIO, batches: Iterable["MeasuredTokens"], distribution: bool) -> None:
    from fastlm.inference.measures import DISTRIBUTION, TOKEN

    try:
        import pyarrow as arrow
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise ImportError("a Parquet table needs the package pyarrow: pip install 'fastlm[parquet]'") from error
    dtype = DISTRIBUTION if distribution else TOKEN
    columns = [(name, arrow.from_numpy_dtype(dtype[name])) for name in dtype.names or ()]
    schema = arrow.schema([*columns[:2], ("word", arrow.string()), *columns[2:]])

    def arrow_table(batch: "MeasuredTokens") -> Any:
        arrays = [arrow.array(batch.words if name == "word" else batch.table[name]) for name in schema.names]
        return arrow.Table.from_arrays(arrays, schema=schema)

    with ParquetWriter(file, schema) as writer:
        for tables in _row_groups(map(arrow_table, batches)):
            writer.write_table(arrow.concat_tables(tables))


def _row_groups(tables: Iterable[Any]) -> Iterator[list[Any]]:
    """Collect tables that are long enough together."""
    group: list[Any] = []
    for table in tables:
        group.append(table)
        if sum(map(len, group)) >= ROW_GROUP:
            yield group
            group = []
    if group:
        yield group
