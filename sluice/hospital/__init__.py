"""The simulated hospital: a PACS, scanners that push, patients, a day, and the truth about it."""
