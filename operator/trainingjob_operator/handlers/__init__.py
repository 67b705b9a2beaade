"""kopf lives here: handlers adapt, delegate and return None; what kopf does is set here too."""
