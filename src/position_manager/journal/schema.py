"""The tables of a journal, and how one of an older version becomes one of this version."""

from __future__ import annotations

from position_manager.orders.intents import OPEN, State

SCHEMA_VERSION = 2
READABLE = frozenset({1, 2})
"""Versions that can be read; a writer brings an older one to the present version when it opens it."""

APPLICATION_ID = 0x706D6A31  # "pmj1"

OPEN_STATES = ", ".join(f"'{state.value}'" for state in sorted(OPEN))
ALL_STATES = ", ".join(f"'{state.value}'" for state in State)
SCHEMA = f"""
CREATE TABLE stamp (mode TEXT NOT NULL, accounts TEXT NOT NULL, created TEXT NOT NULL);
CREATE TABLE intents (
    id TEXT PRIMARY KEY, account TEXT NOT NULL, con_id INTEGER NOT NULL, side TEXT NOT NULL,
    quantity TEXT NOT NULL, position TEXT NOT NULL, rule TEXT NOT NULL, oca_group TEXT NOT NULL,
    created TEXT NOT NULL, state TEXT NOT NULL, proven_filled TEXT NOT NULL DEFAULT '0',
    refused INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX one_open_intent ON intents (account, con_id) WHERE state IN ({OPEN_STATES});
CREATE TABLE orders (
    ref TEXT PRIMARY KEY, intent TEXT NOT NULL UNIQUE REFERENCES intents (id),
    client_id INTEGER NOT NULL CHECK (client_id > 0), order_id INTEGER NOT NULL CHECK (order_id > 0),
    perm_id INTEGER NOT NULL DEFAULT 0, quantity TEXT NOT NULL, limit_price TEXT NOT NULL,
    stop_price TEXT NOT NULL, sent TEXT NOT NULL, UNIQUE (client_id, order_id)
) STRICT;
CREATE INDEX orders_by_time ON orders (sent);
CREATE TABLE fills (
    exec_id TEXT PRIMARY KEY, ref TEXT NOT NULL REFERENCES orders (ref),
    quantity TEXT NOT NULL, price TEXT NOT NULL, time TEXT NOT NULL
) STRICT;
CREATE INDEX fills_by_order ON fills (ref);
CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, kind TEXT NOT NULL,
    intent TEXT REFERENCES intents (id), account TEXT NOT NULL, con_id INTEGER NOT NULL, data TEXT NOT NULL
) STRICT;
CREATE INDEX events_by_instrument ON events (account, con_id);
CREATE INDEX events_by_intent ON events (intent);
CREATE TRIGGER events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_are_kept BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TABLE others (exec_id TEXT PRIMARY KEY) STRICT;
CREATE TABLE holdings (
    account TEXT NOT NULL, con_id INTEGER NOT NULL, quantity TEXT NOT NULL, oca_group TEXT NOT NULL,
    episode TEXT NOT NULL DEFAULT '', average TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (account, con_id)
) STRICT;
CREATE TABLE locks (
    account TEXT NOT NULL, con_id INTEGER NOT NULL, reason TEXT NOT NULL, since TEXT NOT NULL,
    PRIMARY KEY (account, con_id)
) STRICT;
CREATE TABLE rule_memory (
    account TEXT NOT NULL, con_id INTEGER NOT NULL, rule TEXT NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (account, con_id, rule)
) STRICT;
CREATE TABLE IF NOT EXISTS combinations (
    intent TEXT PRIMARY KEY REFERENCES intents (id), lead TEXT NOT NULL, per_unit TEXT NOT NULL
) STRICT;
CREATE TABLE counters (client_id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL) STRICT;
"""

COMBINATIONS = """
CREATE TABLE IF NOT EXISTS combinations (
    intent TEXT PRIMARY KEY REFERENCES intents (id), lead TEXT NOT NULL, per_unit TEXT NOT NULL
) STRICT;
"""
"""Beside the version: a release that knows none of it takes its orders for lost, and locks what they have traded."""
FROM_1_TO_2 = """
ALTER TABLE holdings ADD COLUMN episode TEXT NOT NULL DEFAULT '';
ALTER TABLE holdings ADD COLUMN average TEXT NOT NULL DEFAULT '';
UPDATE holdings SET episode = oca_group WHERE CAST(quantity AS REAL) <> 0;
DELETE FROM rule_memory WHERE rule LIKE 'memory of %' AND NOT EXISTS (
    SELECT 1 FROM holdings h
    WHERE h.account = rule_memory.account AND h.con_id = rule_memory.con_id AND CAST(h.quantity AS REAL) <> 0
);
"""
"""What rules remember of a position that is gone must not act on the next one; of what is held it still counts."""
