"""What the workflows under .github/workflows ask of Python. Each module is one command of theirs."""
