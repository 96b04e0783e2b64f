"""Renders SQL, shell and configuration from Jinja templates; a value that is not typed for its language is an error."""
