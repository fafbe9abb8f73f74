"""Clients of the engines, one file per engine, behind one Protocol (base.py). All ask; Ollama's also acts."""
