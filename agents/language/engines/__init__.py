"""Engines: what continues token ids, in this process, by vLLM, or on a server."""
