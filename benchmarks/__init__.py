"""How fast, beside whom: every module here with a `run(work)` is one benchmark."""
