"""``kdb ui``: the page in a browser, served by this machine to itself."""
