"""The contract of the three components as data (`<component>.yaml`), and the live catalogue in the same shape."""
