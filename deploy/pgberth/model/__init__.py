"""Pure values: what an inventory may say, and what follows from it. No pyinfra, no I/O."""
