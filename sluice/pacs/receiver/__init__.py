"""Our Storage SCP: who may send, how it is served, what we vouch for."""
