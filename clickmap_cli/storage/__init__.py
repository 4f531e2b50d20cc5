"""Floor 2: map stores, manifests, locks, atomic files, safe readers."""
