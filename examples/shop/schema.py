"""Creating and filling the tables; several workers of a service may do it at the same moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, MetaData, Table, func, select
from sqlalchemy.schema import CreateTable

LOCK = 20_26


def prepare(connection: Connection, metadata: MetaData, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Create every table of `metadata` that is missing, and put `rows` into `table` if it is empty."""
    if connection.dialect.name == "postgresql":  # there, IF NOT EXISTS alone does not survive two at once
        connection.execute(select(func.pg_advisory_xact_lock(LOCK)))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    for missing in metadata.sorted_tables:
        connection.execute(CreateTable(missing, if_not_exists=True))
    if connection.scalar(select(func.count()).select_from(table)) == 0:
        connection.execute(table.insert(), list(rows))
