"""A strict checker of Kubernetes and KubeRay manifests: schemas, rules, references."""
