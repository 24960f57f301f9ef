"""A receiver as a process of its own, to be killed. `python -m tests.faults.receiving URL HOME PORT`."""

from __future__ import annotations

import sys
from pathlib import Path

from sluice.pacs.receiver.receive import serve
from sluice.settings import Settings


def main(arguments: list[str]) -> None:
    """Receive until told to stop."""
    url, home, port = arguments
    serve(
        Settings(
            database_url=url, home=Path(home), receiver_port=int(port), receiver_min_free_bytes=1,
            move_source_ae_titles=(),
        )
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1:])
