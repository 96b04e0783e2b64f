"""The knowledge store beyond its tables: which embedding model its vectors are of."""
