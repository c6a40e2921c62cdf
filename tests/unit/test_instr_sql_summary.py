"""The summary of an SQL text names its operations and targets in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_distro.instrumentation.sql_summary import MAX_SUMMARY, Summary, summarize


@pytest.mark.parametrize(
    ("text", "summary", "operation", "collection"),
    [
        ("SELECT * FROM wuser_table WHERE username = ?", "SELECT wuser_table", "SELECT", "wuser_table"),
        ("INSERT INTO a (x) SELECT x FROM b WHERE y = ?", "INSERT a SELECT b", "INSERT", ""),
        ("INSERT t VALUES (?)", "INSERT t", "INSERT", "t"),
        ("INSERT LOW_PRIORITY t (a, b) VALUES (?)", "INSERT t", "INSERT", "t"),
        ("INSERT t SELECT x FROM b", "INSERT t SELECT b", "INSERT", ""),
        ("INSERT OR REPLACE INTO t VALUES (?)", "INSERT t", "INSERT", "t"),
        ("INSERT TOP (?) INTO t SELECT x FROM t", "INSERT t SELECT t", "INSERT", "t"),
        ("UPDATE TOP (?) t SET a = ?", "UPDATE", "UPDATE", ""),
        ("INSERT ALL INTO a VALUES (?) INTO b VALUES (?) SELECT ?", "INSERT a b SELECT", "INSERT", ""),
        ("GRANT SELECT, INSERT, UPDATE ON t TO u", "GRANT SELECT INSERT UPDATE", "GRANT", ""),
        ("GRANT INSERT ON t TO u", "GRANT INSERT", "GRANT", ""),
        ("SELECT * FROM a STRAIGHT_JOIN b", "SELECT a b", "SELECT", ""),
        ("SELECT * FROM a JOIN b ON a.x = b.x STRAIGHT_JOIN c", "SELECT a b c", "SELECT", ""),
        ("SELECT DISTINCT STRAIGHT_JOIN a.x FROM a", "SELECT a", "SELECT", "a"),
        ("SELECT STRAIGHT_JOIN x FROM a", "SELECT a", "SELECT", "a"),
        ("SELECT * FROM songs, artists WHERE a == b", "SELECT songs artists", "SELECT", ""),
        ("SELECT d FROM (SELECT * FROM o JOIN c ON o.i = c.i)", "SELECT SELECT o c", "SELECT", ""),
        ('SELECT * FROM "song list", artists', 'SELECT "song list" artists', "SELECT", ""),
        ("UPDATE t SET a = ? WHERE b IN (SELECT c FROM d)", "UPDATE t SELECT d", "UPDATE", ""),
        ("DELETE FROM ONLY t WHERE x", "DELETE t", "DELETE", "t"),
        ("SELECT EXTRACT(year FROM c) FROM t FOR UPDATE", "SELECT t", "SELECT", "t"),
        ("SELECT a FROM t WHERE a IS DISTINCT FROM b", "SELECT t", "SELECT", "t"),
        ("INSERT INTO t VALUES (?) ON CONFLICT (a) DO UPDATE SET a = ?", "INSERT t", "INSERT", "t"),
        ("MERGE INTO t USING s ON t.i = s.i WHEN MATCHED THEN UPDATE SET a = ?", "MERGE t", "MERGE", "t"),
        ("WITH x AS (SELECT * FROM a) DELETE FROM b USING x", "SELECT a DELETE b", "DELETE", ""),
        ("CREATE TABLE IF NOT EXISTS s.users (id INT)", "CREATE TABLE s.users", "CREATE", "s.users"),
        ("create or replace view v as select 1", "create view v select", "create", "v"),
        ("CREATE UNIQUE INDEX i ON users (id)", "CREATE INDEX i", "CREATE", ""),
        ("TRUNCATE t", "TRUNCATE t", "TRUNCATE", "t"),
        ("CALL p(?)", "CALL p", "CALL", ""),
        ("SELECT a FROM b; DELETE FROM c", "SELECT b DELETE c", "", ""),
        ("EXPLAIN SELECT * FROM t", "EXPLAIN SELECT t", "EXPLAIN", "t"),
        ("SELECT replace(a, ?, ?) FROM t", "SELECT t", "SELECT", "t"),
        ("SELECT 1", "SELECT", "SELECT", ""),
        ("COMMIT", "COMMIT", "COMMIT", ""),
        ("", "", "", ""),
        ("? ( ;;", "", "", ""),
    ],
)
def test_operations_and_targets(text: str, summary: str, operation: str, collection: str) -> None:
    """Operations and targets come in the order of the text; one table and one kind of statement are named apart."""
    assert summarize(text) == Summary(summary, operation, collection)


def test_a_summary_is_cut_between_names() -> None:
    """A summary has at most 255 characters and ends with a whole name."""
    names = [f"table_number_{index}" for index in range(50)]
    summary = summarize("SELECT * FROM " + ", ".join(names)).text
    assert len(summary) <= MAX_SUMMARY
    assert summary.split()[-1] in names


@given(st.text(alphabet="SELCTFROMINWH abc().,;\"'`[]=?", max_size=200))
def test_any_text_is_accepted(text: str) -> None:
    """Summarising never raises and stays within its length."""
    assert len(summarize(text).text) <= MAX_SUMMARY
