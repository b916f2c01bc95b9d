"""Crew that runs programs or checks answers: sandbox, tests, verifiers."""
