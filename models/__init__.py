"""The networks and the method, in PyTorch only; knows no Ray, no HTTP and no storage."""
