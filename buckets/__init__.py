"""Object stores, `gs://`, `s3://` and `az://`: what is there, and its copies on this machine."""
