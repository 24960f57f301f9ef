"""What the models saw, as DICOM structured reports for the PACS, on request."""
