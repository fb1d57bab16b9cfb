"""Makes a release: permission, bundle, golden outputs, model card."""
