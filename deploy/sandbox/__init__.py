"""Files of unknown origin are opened and written in processes of their own, which can be killed."""
