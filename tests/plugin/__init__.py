"""A memory plugin for tests: a small HTTP server that speaks the contract, in an image of its own."""
