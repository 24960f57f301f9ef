"""Who has an inferior vena cava filter by the pictures, since when, and whose retrieval is due."""
