"""Where studies go by what was predicted of them: reviewed rules, a dry run, a row for every decision."""
