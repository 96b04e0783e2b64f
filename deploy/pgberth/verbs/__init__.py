"""What each verb does, as a function of the inventory. The files of `deploy/` only call these."""
