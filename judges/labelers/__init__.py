"""Who labels: a model here, one behind a server, one with dials; and what is put around them."""
