"""Shards: a thousand photos or so in one file, the unit of bulk work."""
