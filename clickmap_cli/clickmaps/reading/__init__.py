"""Tables of raw trials, of any kind and with any damage, to one `Trials` table."""
