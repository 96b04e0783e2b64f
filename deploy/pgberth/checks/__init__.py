"""The smoke suite: what a tenant promises, asked of the live thing, one module a concern."""
