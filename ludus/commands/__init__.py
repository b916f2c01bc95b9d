"""The commands of the command line, a module for each subject; `add_to(app)` makes them known."""
