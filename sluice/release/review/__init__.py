"""The review of a release by a person, before it is published.

While a release is exported, every distinct string that its objects keep is pooled (`Pool`), and a few pictures of each
series are drawn. `open_review` counts them; people decide about strings (`remember`), which holds for every later
release too; and they approve or reject (`decide`) the state that they saw, by its digest. docs/review.md.
"""

from sluice.release.review.approval import Standing, approved, decide, digest_of, require_approval, standing
from sluice.release.review.errors import ReviewError
from sluice.release.review.opening import Opened, open_review
from sluice.release.review.rules import remember
from sluice.release.review.waiting import ask, stop_asking, waiting_task

__all__ = [
    "Opened",
    "ReviewError",
    "Standing",
    "approved",
    "ask",
    "decide",
    "digest_of",
    "open_review",
    "remember",
    "require_approval",
    "standing",
    "stop_asking",
    "waiting_task",
]
