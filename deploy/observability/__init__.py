"""Metrics of the service, and the dashboards and alerts that use them."""
