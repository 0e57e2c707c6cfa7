"""The service under load, and against the same networks in one process; speaks HTTP only."""
