"""Methods that fill holes, and folders of photographs."""
