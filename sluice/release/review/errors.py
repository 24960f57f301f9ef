"""What a review refuses."""

from __future__ import annotations


class ReviewError(RuntimeError):
    """A decision or an approval cannot be taken; the message says what to do."""
