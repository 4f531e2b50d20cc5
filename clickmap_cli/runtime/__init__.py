"""Floor 1: errors, progress, parallel backends, seeding, devices. No domain words."""
