"""Model folders: find, convert and load them; score and complete text with them."""
