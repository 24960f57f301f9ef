"""Cohorts: a typed filter language over headers, anatomy, quality and predictions; previewed, then frozen."""
