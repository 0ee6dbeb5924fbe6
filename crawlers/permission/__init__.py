"""What a site allows: robots.txt and the statements about AI use."""
