"""From documents to demonstrations and preferences: the steps of labeling."""
