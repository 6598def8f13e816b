"""An index of photos or sentences: its rows on the disk, by either engine, and those nearest."""
