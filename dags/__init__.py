"""When each step runs, and after what."""
