"""Ask a PACS what it holds, with proof of coverage."""
