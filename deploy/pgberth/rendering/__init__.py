"""Jinja templates and typed values -> SQL, shell and configuration; whatever is not typed is an error."""
