"""De-identification by the profile tables of PS3.15 Annex E."""
