"""One tenant's secrets, volume and container: what is there, and how it is made so."""
