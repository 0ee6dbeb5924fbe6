"""What several tests of the loop need: runs that the gate has decided."""
