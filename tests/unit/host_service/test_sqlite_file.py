"""SQLite files that survive a kill: their settings, scripts inside one transaction, damage, and error codes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from host_service import sqlite_file


def test_a_commit_is_on_the_disk_and_references_are_checked(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "file", isolation_level=None)) as database:
        sqlite_file.set_durable(database)
        values = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        assert values == ["wal", 2]
        assert database.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_script_can_be_rolled_back_as_a_whole(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "file", isolation_level=None)) as database:
        database.execute("BEGIN")
        script = "CREATE TABLE one (\n  a TEXT DEFAULT ';'\n);\nCREATE TABLE two (b);\n"
        for statement in sqlite_file.statements(script):
            database.execute(statement)
        database.execute("ROLLBACK")
        assert database.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,)
        assert len(list(sqlite_file.statements(script))) == 2


def test_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE t (a TEXT)")
        database.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 100)
        assert sqlite_file.damage(database) is None
    content = bytearray(path.read_bytes())
    content[8192 : 8192 + 64] = b"\xff" * 64
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as database:
        assert sqlite_file.damage(database)


def test_the_code_of_an_error_is_the_primary_one(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error) as failure:
        sqlite3.connect(f"file:{tmp_path}/none?mode=ro", uri=True)
    assert sqlite_file.primary_code(failure.value) == sqlite3.SQLITE_CANTOPEN
    failure.value.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
    assert sqlite_file.primary_code(failure.value) == sqlite3.SQLITE_IOERR
    assert sqlite_file.primary_code(sqlite3.Error()) == 0
