"""What a host needs before it can carry tenants: podman, an account, an image, a runtime that works."""
