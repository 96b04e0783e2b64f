"""Versioned SQL for the memory schemas: render, plan, ledger, runner."""
