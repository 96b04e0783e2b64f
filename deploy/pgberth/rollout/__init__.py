"""Rings, recycle and stage: a change reaches one ring after the other."""
