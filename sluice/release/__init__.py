"""Releases: de-identified exports with a manifest written last."""
