"""The service under load, and beside the same networks in one process; speaks HTTP only."""
