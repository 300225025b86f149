"""The comparative benchmark: see benches/load/README.md."""
