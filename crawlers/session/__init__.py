"""One worker's crawl: lease hosts, obey robots.txt, send requests politely, store the results."""
