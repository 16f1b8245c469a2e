"""Keeping tables cheap to read and to append to: compaction, snapshot expiry, removal of orphan files."""
