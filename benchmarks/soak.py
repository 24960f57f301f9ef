"""Retrievals under kill -9: `python -m benchmarks.soak [--seeds 20] [--instances 5000] [--kills 3] [--first 1]`.

Each seed retrieves so many instances from one Orthanc while the receiver, the retrieving worker and Postgres are each
killed so many times at random points, and then compares PACS, ledger and archive instance by instance. One line a
seed; ends with 1 at the first seed where something does not hold, and says where its files are.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from sluice.stack.postgres import EmbeddedPostgres
from sluice.stack.processes import free_port
from tests.faults.forking import Nursery
from tests.faults.soak import Outcome, Soak, pacs_with


def main() -> int:
    """Run the seeds that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=20, help="how many retrievals (default %(default)s)")
    parser.add_argument("--instances", type=int, default=5_000, help="instances of each (default %(default)s)")
    parser.add_argument("--kills", type=int, default=3, help="kills of each victim and seed (default %(default)s)")
    parser.add_argument("--first", type=int, default=1, help="first seed (default %(default)s)")
    given = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="sluice-soak-"))
    (work / "orthanc").mkdir()
    port = free_port()
    with (
        Nursery() as nursery,
        EmbeddedPostgres(work / "postgres", durable=True) as postgres,
        pacs_with(work / "orthanc", port, given.instances) as (pacs_port, truth),
    ):
        for seed in range(given.first, given.first + given.seeds):
            home = work / f"seed-{seed}"
            deadline_s = 120 + given.instances / 10
            outcome = Soak(
                nursery, postgres, pacs_port, port, truth, home, seed, given.kills, deadline_s=deadline_s
            ).run()
            print(line(outcome), flush=True)
            if outcome.problems:
                print(f"Its archive, spool and logs are in {home}.")
                return 1
            shutil.rmtree(home)
    shutil.rmtree(work)
    return 0


def line(outcome: Outcome) -> str:
    """One seed in words."""
    rate = outcome.instances / outcome.seconds
    end = "every instance once" if not outcome.problems else "; ".join(outcome.problems)
    return (
        f"seed {outcome.seed:>3}: {outcome.instances} instances in {outcome.seconds:.0f} s ({rate:.0f}/s), "
        f"{outcome.attempts} requests, {len(outcome.killed)} kills: {end}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
