"""Find, move and receive: everything that speaks DICOM to a PACS or scanner."""
