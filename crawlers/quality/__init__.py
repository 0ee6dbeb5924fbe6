"""Quality of a text: words, signals, fingerprints, and the rules that keep or drop it."""
