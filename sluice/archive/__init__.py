"""Received DICOM objects: taken in, kept durably, receipts written."""
