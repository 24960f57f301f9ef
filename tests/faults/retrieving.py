"""A worker that retrieves a window, as a process of its own, to be killed.

`python -m tests.faults.retrieving URL PACS_PORT [THREADS]` makes passes of retrieval until nothing is missing.
"""

from __future__ import annotations

import sys
import threading
import time

import psycopg2

from sluice.database import Database, DatabaseError
from sluice.pacs.errors import PacsError
from sluice.pacs.fetch.retrieve import missing_studies, move_missing
from tests.faults.small_store import KEY
from tests.peers.servers import node

STUDIES_A_PASS = 8
PAUSE_S = 0.2


def retrieve(database: Database, port: int, part: int, parts: int) -> None:
    """Passes over this part of the missing studies until none is missing, whatever goes away meanwhile."""
    peer = node("soak", port)
    while True:
        try:
            missing = [uid for uid in missing_studies(database, KEY) if int(uid.rpartition(".")[2]) % parts == part]
            if not missing:
                return
            move_missing(database, peer, KEY, missing[:STUDIES_A_PASS])
        except (PacsError, DatabaseError, psycopg2.Error) as error:
            print(type(error).__name__, flush=True)
            time.sleep(PAUSE_S)


def main(arguments: list[str]) -> None:
    """Retrieve in so many threads until nothing is missing."""
    url, pacs_port, *more = arguments
    count = int(more[0]) if more else 1
    threads = [
        threading.Thread(target=retrieve, args=(Database(url), int(pacs_port), part, count)) for part in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1:])
