"""
Throwaway hosts: real systemd, sshd, rootless podman and Quadlet, each with an address of its own, booted in seconds.

They are privileged containers of root's podman, so they need root and share the kernel with the machine the tests run
on: boot id, uptime, clock and /proc/sys are that machine's. What else differs from a machine stands in host.Host.
"""
