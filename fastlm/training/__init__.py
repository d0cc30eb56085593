"""Training runs: the trainer, and the record of what happened in one."""
