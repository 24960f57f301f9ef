"""Quality: checks that say what is wrong, and where."""
