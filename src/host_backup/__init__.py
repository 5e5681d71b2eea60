"""Encrypted backups of a host, and their restore.

`layout` lists what belongs to a backup, `databases` copies and inspects SQLite files while they are written, `manifest`
describes one backup, `archive` writes and checks it, `encryption` is age. `creating` makes the nightly backup with
`retention`, `record` and `storage` (S3); `decision` is pure and decides whether a restore may proceed; `swapping`
replaces the directories so that a killed restore is completed by the next run.
"""
