"""Recall: who opted out, what of it was released, taking it back, and who has to delete what they hold."""
