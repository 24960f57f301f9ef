"""Anatomy: body region, laterality and view from the words of a header."""
