"""Agents that speak: language models and the engines that generate for them."""
