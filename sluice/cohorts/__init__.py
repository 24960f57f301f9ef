"""Cohorts: whom a researcher asks for, by a list or by a filter."""
