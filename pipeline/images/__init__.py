"""Images: reading and checking them, splits, files, augmentation."""
