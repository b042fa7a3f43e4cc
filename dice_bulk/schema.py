"""The columns that are written: see docs/scaling.md."""

from typing import Any, Dict, List, Sequence

import pyarrow as pa

SPAN = pa.struct(
    [
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("label", pa.string()),
        ("text", pa.string()),
        ("kb_id", pa.string()),
        ("score", pa.float32()),
    ]
)
KEYED_SPAN = pa.struct([("key", pa.string()), *SPAN])
CAT = pa.struct([("label", pa.string()), ("score", pa.float32())])
TAG = pa.struct(
    [
        ("start", pa.int32()),
        ("end", pa.int32()),
        ("tag", pa.string()),
        ("pos", pa.string()),
        ("morph", pa.string()),
        ("lemma", pa.string()),
        ("score", pa.float32()),
    ]
)
TYPES = {
    "ents": pa.list_(SPAN),
    "spans": pa.list_(KEYED_SPAN),
    "cats": pa.list_(CAT),
    "tags": pa.list_(TAG),
}
PLACE = (("file", pa.string()), ("row", pa.int64()))
# Names that a kept column cannot have.
TAKEN = (*dict(PLACE), "id", *TYPES)


def make_schema(kept: Dict[str, pa.DataType], fields: Sequence[str]) -> pa.Schema:
    """Place, kept columns (the id among them), and what the model says.

    Args:
        kept: Name and type of each column that is taken over.
        fields: Of ``ents``, ``spans``, ``cats`` and ``tags``.
    """
    return pa.schema([*PLACE, *kept.items(), *((name, TYPES[name]) for name in fields)])


def make_batch(
    schema: pa.Schema, place: Dict[str, Any], kept: pa.RecordBatch, found: List[Dict[str, Any]]
) -> pa.RecordBatch:
    """Rows as they are written.

    Args:
        schema: From `make_schema`.
        place: ``file`` and ``row``, a value for each row.
        kept: The columns that are taken over.
        found: For each row, a list for each field.
    """
    columns = []
    for column in schema:
        if column.name in place:
            columns.append(pa.array(place[column.name], column.type))
        elif column.name in kept.schema.names:
            columns.append(kept.column(column.name))
        else:
            columns.append(pa.array([row[column.name] for row in found], column.type))
    return pa.record_batch(columns, schema=schema)
