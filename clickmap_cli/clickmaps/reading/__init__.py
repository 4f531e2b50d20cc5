"""Reading of raw trial tables of any format, with any damage, into one `Trials` table."""
