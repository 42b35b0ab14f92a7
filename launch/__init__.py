"""From a command to machines: job files for cloud VMs, Slurm and Kubernetes."""
