"""The whole path on one machine, with real parts: object storage, Ray, training, serving."""
