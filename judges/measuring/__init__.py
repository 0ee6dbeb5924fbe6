"""How far a labeler can be trusted: gold, probes, datasheets, attacks, calibration, panels."""
