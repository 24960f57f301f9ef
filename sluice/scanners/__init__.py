"""Scanners: utilization and clock offsets, from headers."""
