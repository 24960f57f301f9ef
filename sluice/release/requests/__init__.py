"""Requests of researchers: what was asked for, whether the quota allows it, how long it takes, how far it is."""
