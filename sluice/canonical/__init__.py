"""Canonical images: decoded once, kept in shards, read by every model and page."""
