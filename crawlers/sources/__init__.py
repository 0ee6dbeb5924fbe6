"""Sources of pages: the web, WARC files, folders, the built-in site, or a plug-in."""
