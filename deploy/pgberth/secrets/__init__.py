"""Where passwords come from when they are not made on the machine."""
