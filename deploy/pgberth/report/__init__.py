"""What a run reports: receipts, the closing table, errors in the operator's own files."""
