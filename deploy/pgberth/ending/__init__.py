"""What a run says at its end: the table, slips in an inventory, tenants that were not finished."""
