"""The rules protocol, the one loop, and what is recorded: everything else stands on this."""
