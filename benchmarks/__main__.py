"""`python -m benchmarks [NAME …]`: the same as `python -m benchmarks.run --only NAME`."""

from benchmarks.run import main

raise SystemExit(main())
