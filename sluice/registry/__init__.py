"""Which models read: where each came from, how it was measured, which stage it is in and who put it there and why."""
