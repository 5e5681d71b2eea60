"""Copies of SQLite files while they are written, and what identifies a journal."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from tests.unit.position_manager import journal_samples

from host_backup import databases
from host_backup.errors import BackupError
from position_manager.journal.reader import JournalReader

WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
database.execute("PRAGMA journal_mode = WAL")
database.execute("CREATE TABLE one (n INTEGER)")
database.execute("CREATE TABLE two (n INTEGER)")
print("ready", flush=True)
n = 0
while True:
    n += 1
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO one VALUES (?)", (n,))
    database.execute("INSERT INTO two VALUES (?)", (n,))
    database.execute("COMMIT")
"""


def test_a_copy_of_a_database_that_is_written_is_of_one_moment(tmp_path: Path) -> None:
    source, target = tmp_path / "source.db", tmp_path / "target.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(source)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            databases.copy(source, target)
            found = sqlite3.connect(target)
            one = found.execute("SELECT COUNT(*), MAX(n) FROM one").fetchone()
            two = found.execute("SELECT COUNT(*), MAX(n) FROM two").fetchone()
            found.close()
            assert one == two
            if one[0] > 20:
                break
        else:
            pytest.fail("the writer did not write")
        writer.kill()
    assert {path.name for path in tmp_path.glob("target*")} == {"target.db"}


def test_a_journal_whose_manager_was_killed_is_copied_with_its_write_ahead_log(tmp_path: Path) -> None:
    source = tmp_path / "journal.db"
    database = sqlite3.connect(source, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA wal_autocheckpoint = 0")
    database.execute("CREATE TABLE kept (n INTEGER)")
    database.execute("INSERT INTO kept VALUES (7)")
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in ("journal.db", "journal.db-wal"):
        shutil.copy(tmp_path / name, killed / name)
    database.close()
    databases.copy(killed / "journal.db", tmp_path / "copy.db")
    assert sqlite3.connect(tmp_path / "copy.db").execute("SELECT n FROM kept").fetchone() == (7,)


@pytest.mark.parametrize("killed", [False, True])
def test_a_database_that_nobody_has_open_is_copied_where_nothing_may_be_created_beside_it(killed: bool) -> None:
    """As in the unit, whose process may write its own directory only. Killed: the write-ahead log was left."""
    script = (
        "import os, sys; from pathlib import Path; from host_backup import databases\n"
        "os.getuid() or os.setuid(65534)\n"
        "databases.copy(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    # Not below pytest's own directory, which nobody else may enter.
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        directory.chmod(0o755)
        source, out = directory / "state" / "journal.db", directory / "out"
        source.parent.mkdir()
        out.mkdir()
        out.chmod(0o777)
        journal_samples.write(source)
        if killed:
            writer = (
                "import os, sqlite3, sys; database = sqlite3.connect(sys.argv[1]);"
                "database.execute('UPDATE counters SET order_id = 77'); database.commit(); os._exit(0)"
            )
            subprocess.run([sys.executable, "-c", writer, str(source)], check=True)
        for file in source.parent.iterdir():
            file.chmod(0o644)
        names = {file.name for file in source.parent.iterdir()}
        assert ("journal.db-wal" in names) is killed
        source.parent.chmod(0o555)
        command = [sys.executable, "-c", script, str(source), str(out / "copy.db")]
        done = subprocess.run(command, env={"PYTHONPATH": "src"}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        copied = sqlite3.connect(out / "copy.db")
        assert (copied.execute("SELECT order_id FROM counters").fetchone() == (77,)) is killed
        copied.close()
        assert {file.name for file in source.parent.iterdir()} == names


def test_a_damaged_database_is_refused_by_its_name(tmp_path: Path) -> None:
    source = tmp_path / "journal.db"
    journal_samples.write(source)
    content = bytearray(source.read_bytes())
    content[4096 * 2 : 4096 * 3] = b"\xff" * 4096
    source.write_bytes(content)
    with pytest.raises(BackupError, match=f"{source} "):
        databases.copy(source, tmp_path / "copy.db")


def test_a_broken_reference_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    database = sqlite3.connect(source)
    database.execute("CREATE TABLE one (n INTEGER PRIMARY KEY)")
    database.execute("CREATE TABLE two (n INTEGER REFERENCES one (n))")
    database.execute("INSERT INTO two VALUES (1)")
    database.commit()
    database.close()
    with pytest.raises(BackupError, match="a reference is broken"):
        databases.copy(source, tmp_path / "copy.db")


@pytest.mark.parametrize("writes", [1, databases.ATTEMPTS])
def test_a_copy_is_repeated_while_a_program_writes_without_a_lock(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has it open when the copy starts, so it is read without a lock."""
    source, target = tmp_path / "source.db", tmp_path / "target.db"

    def write(count: int) -> None:
        database = sqlite3.connect(source)
        database.execute("CREATE TABLE IF NOT EXISTS one (n INTEGER, text TEXT)")
        database.execute("INSERT INTO one VALUES (?, ?)", (count, "x"))
        database.commit()
        database.close()

    write(0)
    opened, real = 0, databases._open

    def open_and_write(path: Path) -> sqlite3.Connection:
        nonlocal opened
        opened += 1
        connection = real(path)
        if opened <= writes:
            write(opened)
        return connection

    monkeypatch.setattr(databases, "_open", open_and_write)
    if writes == databases.ATTEMPTS:
        with pytest.raises(BackupError, match="changes all the time without a lock"):
            databases.copy(source, target)
        return
    databases.copy(source, target)
    assert opened == 2
    copied = sqlite3.connect(target)
    assert copied.execute("SELECT MAX(n) FROM one").fetchone() == (1,)
    copied.close()


def test_the_facts_of_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal_samples.write(path)
    facts = databases.journal_facts(path, "/name")
    database = sqlite3.connect(path)
    (last, at) = database.execute("SELECT MAX(number), MAX(time) FROM events").fetchone()
    assert (facts.path, facts.mode, facts.accounts) == ("/name", "paper", (journal_samples.ACCOUNT,))
    assert (facts.last_event, facts.last_time, facts.intents) == (last, at, 3)
    with JournalReader(path) as reader:
        assert facts.open_intents == len(reader.open_intents())
        assert facts.episodes == sum(bool(holding.episode) for holding in reader.holdings().values())
    assert facts.events_digest == databases.events_digest(path, last)
    assert facts.events_digest != databases.events_digest(path, last - 1)

    database.execute("UPDATE counters SET order_id = order_id + 1")
    database.commit()
    changed = databases.journal_facts(path, "/name")
    assert changed.events_digest == facts.events_digest
    assert changed.content_digest != facts.content_digest


def test_a_journal_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    journal_samples.write(path)
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(BackupError, match=r"has version 99.*newer one"):
        databases.journal_facts(path, "journal-paper.db")
