"""A process of its own that asks a PACS through the governor; run by the tests as `python -m`.

Arguments: database URL, who, priority, requests, seconds a request, one of `work` (many associations) and `hold` (one
association until killed). Prints a JSON line for each event, with the machine's monotonic clock.
"""

from __future__ import annotations

import json
import sys
import time

from sluice.database import Database
from sluice.pacs.governor import Governor, Priority, Use


def say(event: str) -> None:
    print(json.dumps({"event": event, "at": time.monotonic()}), flush=True)


def main() -> None:
    url, who, priority, requests, seconds, mode = sys.argv[1:]
    governor = Governor(Database(url), "pretend", Use("test", who, Priority(int(priority))), patience_s=120)
    if mode == "hold":
        with governor.association():
            say("in")
            time.sleep(600)
    for _ in range(int(requests)):
        with governor.association(), governor.request() as request:
            say("in")
            time.sleep(float(seconds))
            request.answered("0000")
            say("out")


if __name__ == "__main__":
    main()
