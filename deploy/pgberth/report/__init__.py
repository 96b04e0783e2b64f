"""What a run tells: receipts, the closing table, errors in the operator's own files."""
