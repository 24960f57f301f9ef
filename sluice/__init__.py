"""Sluice: imaging studies from a hospital's PACS to the researchers who may use them, with proof."""

__version__ = "0.3.0"
