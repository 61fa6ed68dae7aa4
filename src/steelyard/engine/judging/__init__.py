"""How an answer gets its scores while the run goes on."""
