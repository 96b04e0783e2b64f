"""The ways to a machine and to a tenant: this machine, SSH, the lease of a lock, the tunnel to a server."""
