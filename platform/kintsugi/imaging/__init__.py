"""Files of images to arrays and back, with limits; knows no PyTorch and no storage."""
