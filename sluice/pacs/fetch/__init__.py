"""Fetch what a PACS holds and we lack: C-MOVE, C-GET, WADO-RS."""
