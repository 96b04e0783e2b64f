"""How a machine is reached over SSH, and how a lock stays held there."""
