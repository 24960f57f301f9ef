"""`manifest.parquet`: a row for every object of a version, written a few thousand rows at once."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

ROWS_AT_ONCE = 20_000
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("path", pa.string()),
        ("kind", pa.dictionary(pa.int8(), pa.string())),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("patient", pa.string()),
        ("study_instance_uid", pa.string()),
        ("series_instance_uid", pa.string()),
        ("sop_instance_uid", pa.string()),
        ("frame", pa.int32()),
        ("engine", pa.dictionary(pa.int8(), pa.string())),
    ]
)
OF_COLUMNS = ("patient", "study_instance_uid", "series_instance_uid", "sop_instance_uid", "frame")


class TableWriter:
    """A Parquet file that grows row by row; equal rows in equal order give equal bytes (of one pyarrow version)."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", store_schema=False)
        self._rows: list[dict[str, Any]] = []
        self._closed = False

    def add(self, row: dict[str, Any]) -> None:
        """One more row, by the names of the schema."""
        self._rows.append(row)
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def close(self) -> None:
        """Write what is left; again does nothing."""
        if not self._closed:
            self._flush()
            self._writer.close()
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows = []


class IndexWriter(TableWriter):
    """`manifest.parquet`, from rows of `sluice.release.contents.objects`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SCHEMA)

    def add(self, row: dict[str, Any]) -> None:
        """One more object."""
        columns = row["columns"]
        super().add(
            {"key": row["object_key"], "path": row["path"], "kind": row["kind"], "bytes": row["bytes"]}
            | {"sha256": row["sha256"], "engine": row["engine"]}
            | {name: columns.get(name) for name in OF_COLUMNS}
        )
