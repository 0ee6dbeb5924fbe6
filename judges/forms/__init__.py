"""The files and the forms of rows that people have, as items to judge."""
