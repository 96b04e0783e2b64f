"""Passwords from outside the machine: the references to them, and how they are fetched."""
