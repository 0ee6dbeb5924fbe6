"""Fetching pages: delays for each host, address checks, and the Scrapy transport."""
