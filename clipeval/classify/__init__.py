"""Words to predictions: class sets and templates, zero-shot, linear probe, several labels an image."""
