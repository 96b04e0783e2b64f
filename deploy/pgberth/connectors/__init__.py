"""How commands get to a machine and to a tenant: locally or over SSH; the lease of a lock; the tunnel to a server."""
