"""One judgment: the questions, how they are asked, and how an answer is read."""
