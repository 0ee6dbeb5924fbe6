"""What a generation learns from: the mix, its policy, and the text held out from it."""
