"""Whatever takes a seat: simple, searching, learned and human players, and the crew."""
