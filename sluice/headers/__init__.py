"""Headers: from archived files to typed columns and DICOM JSON."""
